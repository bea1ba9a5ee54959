//! Everything that reads what others send, fed with what nobody should send: the inputs
//! of `tests/fuzz`, changed at random. Nothing may panic or hang, and what is accepted
//! must come out as it went in, but for what is meant to be changed.
//!
//! `FUZZ_ITERATIONS=1000000 cargo test --lib fuzz` goes on for longer, and every time in
//! another way, unless `BOLERO_RANDOM_SEED` is set. What has failed once is kept in
//! `tests/fuzz` as a file of its own.

use std::{collections::HashMap, env, fs, path::Path};

use bolero::TypeGenerator;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::{
    catalog::public_name,
    config::Settings,
    protocol::{
        Era, Frame, Kind,
        answer::to_client,
        request::{MetaEdit, Params, RequestEdit},
    },
};

/// How often each is run in a usual test run.
const ITERATIONS: usize = 20_000;

/// Texts that mean something to somebody who reads them.
const WORDS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "-0",
    "1e400",
    "12345678901234567890123",
    "\"id\":1,",
    "\"method\":\"tools/call\",",
    "\"_meta\":{},",
    "\"name\":\"x\",",
    "\n",
    "\r\n",
    "data: ",
    "\n\n",
    "\u{feff}",
    "${A:-b}",
];

/// One change to an input.
#[derive(Clone, Debug, TypeGenerator)]
enum Change {
    Flip { at: u16, bit: u8 },
    Remove { at: u16, length: u8 },
    Repeat { at: u16, length: u8 },
    Insert { at: u16, word: u8 },
    Put { at: u16, byte: u8 },
    Cut { at: u16 },
}

/// One of the kept inputs, and what is done to it.
#[derive(Clone, Debug, TypeGenerator)]
struct Input {
    kept: u8,
    #[generator(bolero::generator::produce_with::<Vec<_>>().len(0usize..8))]
    changes: Vec<Change>,
}

impl Input {
    fn of(&self, kept: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = kept[usize::from(self.kept) % kept.len()].clone();
        for change in &self.changes {
            change.make(&mut bytes);
        }
        bytes
    }
}

impl Change {
    fn make(&self, bytes: &mut Vec<u8>) {
        let within = |at: u16| usize::from(at) % (bytes.len() + 1);
        match *self {
            Self::Flip { at, bit } => {
                let at = within(at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Remove { at, length } => {
                let at = within(at);
                let end = (at + usize::from(length)).min(bytes.len());
                bytes.drain(at..end);
            }
            Self::Repeat { at, length } => {
                let at = within(at);
                let end = (at + usize::from(length)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            Self::Insert { at, word } => {
                let at = within(at);
                let word = WORDS[usize::from(word) % WORDS.len()];
                bytes.splice(at..at, word.bytes());
            }
            Self::Put { at, byte } => {
                let at = within(at);
                bytes.insert(at, byte);
            }
            Self::Cut { at } => bytes.truncate(usize::from(at) % (bytes.len() + 1)),
        }
    }
}

/// Runs `target` with the inputs kept below `tests/fuzz`, and with many made of them.
pub(crate) fn fuzz(folder: &str, target: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz")
        .join(folder);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let kept: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(kept.len() >= 3, "there are inputs to begin with");
    kept.iter().for_each(|input| target(input));

    let iterations = env::var("FUZZ_ITERATIONS").map_or(ITERATIONS, |said| said.parse().unwrap());
    bolero::check!()
        .with_iterations(iterations)
        .with_type::<Input>()
        .for_each(|input| target(&input.of(&kept)));
}

/// The members of an object in their order, those that stand twice, too; or nothing where
/// a key has half a character, which not everybody reads.
fn members(object: &[u8]) -> Option<Vec<(String, String)>> {
    struct Members(Vec<(String, String)>);
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Members;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
            let mut members = Vec::new();
            while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                members.push((key, value.get().to_owned()));
            }
            Ok(Members(members))
        }
    }
    impl<'de> Deserialize<'de> for Members {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_map(Visitor)
        }
    }
    let members: Members = serde_json::from_slice(object).ok()?;
    Some(members.0)
}

/// `members` with the values of some replaced by `with`.
fn replaced(members: Vec<(String, String)>, keys: &[&str], with: &str) -> Vec<(String, String)> {
    let replace = |(key, value): (String, String)| match keys.contains(&&*key) {
        true => (key, with.to_owned()),
        false => (key, value),
    };
    members.into_iter().map(replace).collect()
}

#[test]
fn an_envelope_that_is_read_is_passed_on_as_it_came() {
    fuzz("envelope", |input| {
        let Ok(frame) = Frame::read(Bytes::copy_from_slice(input)) else {
            return;
        };
        assert_eq!(frame.bytes(), input);
        let Some(before) = members(input) else {
            return;
        };
        let value = |wanted: &str| {
            let found = before.iter().find(|(key, _)| key == wanted);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(frame.id(), value("id"));
        let body = value("params").or(value("result")).or(value("error"));
        assert_eq!(frame.body(), body);
        let method = value("method").map(|raw| serde_json::from_str::<String>(raw).ok());
        if let Some(Some(method)) = method {
            assert_eq!(frame.method().as_deref(), Some(&*method));
        }
    });
}

#[test]
fn a_request_is_rewritten_where_it_is_meant_to_be_and_nowhere_else() {
    fuzz("envelope", |input| {
        let Ok(frame) = Frame::read(Bytes::copy_from_slice(input)) else {
            return;
        };
        let Some(method) = frame.method().filter(|_| frame.kind() == Kind::Request) else {
            return;
        };
        let Ok(params) = Params::read(&frame, &method) else {
            return;
        };
        let edit = RequestEdit {
            name: "the child's \"own\" name",
            id: Some("\"ours-1\""),
            progress_token: Some("\"ours-2\""),
            meta: MetaEdit::Keep,
            members: "",
        };
        let edited = params.edit(&frame, &edit);

        let again = Frame::read(edited.clone()).expect("it is a frame still");
        let Some(before) = members(input) else {
            return;
        };
        let after = members(&edited).expect("what could be read can be read");
        let expected = replaced(before, &["id"], "\"ours-1\"");
        assert_eq!(
            replaced(after, &["params"], ""),
            replaced(expected, &["params"], "")
        );
        if let (Some(before), Some(after)) = (frame.body(), again.body()) {
            let but_for_names = |body: &str| {
                let named = ["name", "uri", "taskId", "ref", "_meta"];
                Some(replaced(members(body.as_bytes())?, &named, ""))
            };
            assert_eq!(but_for_names(before), but_for_names(after));
            let read = Params::read(&again, &method).expect("it can be read still");
            let name = params.name.as_ref().map(|_| edit.name);
            assert_eq!(read.name.as_deref(), name);
            let token = params.progress_token.as_ref().and(edit.progress_token);
            assert_eq!(read.progress_token.as_deref(), token);
        }
    });
}

#[test]
fn an_answer_gets_its_clients_id_and_keeps_its_result() {
    fuzz("answer", |input| {
        let Ok(frame) = Frame::read(Bytes::copy_from_slice(input)) else {
            return;
        };
        if !matches!(frame.kind(), Kind::Result | Kind::Error) {
            return;
        }
        for (child, client) in [
            (Era::Legacy, Era::Legacy),
            (Era::Modern, Era::Modern),
            (Era::Legacy, Era::Modern),
            (Era::Modern, Era::Legacy),
        ] {
            let told = to_client(&frame, Some("7"), child, client, true);
            let told = Frame::read(told).expect("it is a frame still");
            assert_eq!((told.id(), told.kind()), (Some("7"), frame.kind()));
            if child == client {
                assert_eq!(told.body(), frame.body());
            }
        }
    });
}

#[test]
fn a_configuration_is_read_or_refused_in_words() {
    fuzz("config", |input| {
        let text = String::from_utf8_lossy(input);
        let environment = HashMap::from([("A".to_owned(), "a \"value\"".to_owned())]);
        match Settings::from_json(Path::new("mcp_config.json"), &text, &environment) {
            Ok(settings) => {
                let mut names: Vec<_> = settings.children.iter().map(|child| &child.name).collect();
                let all = names.len();
                names.sort();
                names.dedup();
                assert_eq!(names.len(), all, "every child has a name of its own");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}

#[test]
fn a_public_name_is_one_that_clients_take() {
    fuzz("name", |input| {
        let own = String::from_utf8_lossy(input);
        for limit in [16, 42, 64] {
            let name = public_name("prefix", &own, limit);
            assert!(name.as_str().len() <= limit);
            assert!(
                name.as_str()
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || b"_-".contains(&c))
            );
        }
    });
}
