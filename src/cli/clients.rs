//! The MCP clients we know: where their files are and how they write a server down.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use url::Url;

use super::document::{Input, object};

/// What we are called in a client's file.
pub(super) const OUR_NAME: &str = "mcp-multiplexer";

/// A program that reads servers from a JSON file of its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Client {
    /// Claude Code.
    ClaudeCode,
    /// Claude Desktop.
    ClaudeDesktop,
    /// Visual Studio Code.
    Vscode,
    /// Cursor.
    Cursor,
    /// Windsurf.
    Windsurf,
    /// Gemini CLI.
    Gemini,
}

/// How a client is to reach us.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// It starts this command with these arguments.
    Stdio(String, Vec<String>),
    /// It connects to this address.
    Http(Url),
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClaudeCode => "Claude Code",
            Self::ClaudeDesktop => "Claude Desktop",
            Self::Vscode => "VS Code",
            Self::Cursor => "Cursor",
            Self::Windsurf => "Windsurf",
            Self::Gemini => "Gemini CLI",
        })
    }
}

impl Client {
    pub(super) const ALL: [Self; 6] = [
        Self::ClaudeCode,
        Self::ClaudeDesktop,
        Self::Vscode,
        Self::Cursor,
        Self::Windsurf,
        Self::Gemini,
    ];

    /// The file that concerns its user, below their home.
    pub(super) fn file(self, home: &Path) -> PathBuf {
        home.join(match self {
            Self::ClaudeCode => ".claude.json",
            Self::ClaudeDesktop if cfg!(target_os = "macos") => {
                "Library/Application Support/Claude/claude_desktop_config.json"
            }
            Self::ClaudeDesktop => ".config/Claude/claude_desktop_config.json",
            Self::Vscode if cfg!(target_os = "macos") => {
                "Library/Application Support/Code/User/mcp.json"
            }
            Self::Vscode => ".config/Code/User/mcp.json",
            Self::Cursor => ".cursor/mcp.json",
            Self::Windsurf => ".codeium/windsurf/mcp_config.json",
            Self::Gemini => ".gemini/settings.json",
        })
    }

    /// The file that concerns one project, below its folder.
    pub(super) fn project_file(self) -> Option<&'static str> {
        match self {
            Self::ClaudeCode => Some(".mcp.json"),
            Self::Vscode => Some(".vscode/mcp.json"),
            Self::Cursor => Some(".cursor/mcp.json"),
            Self::Gemini => Some(".gemini/settings.json"),
            Self::ClaudeDesktop | Self::Windsurf => None,
        }
    }

    /// The key that servers stand below.
    pub(super) fn servers(self) -> &'static str {
        match self {
            Self::Vscode => "servers",
            _ => "mcpServers",
        }
    }

    /// How it writes us down; `None`: its file knows no such servers.
    pub(super) fn entry(self, way: &Way) -> Option<Input> {
        let names_its_type = matches!(self, Self::ClaudeCode | Self::Vscode);
        let mut members = Vec::new();
        match way {
            Way::Stdio(command, args) => {
                if names_its_type {
                    members.push(("type", "stdio".into()));
                }
                members.push(("command", command.clone().into()));
                let args = args.iter().map(|arg| arg.clone().into()).collect();
                members.push(("args", Input::Array(args)));
            }
            Way::Http(url) => {
                if names_its_type {
                    members.push(("type", "http".into()));
                }
                let key = match self {
                    Self::ClaudeCode | Self::Vscode | Self::Cursor => "url",
                    Self::Windsurf => "serverUrl",
                    Self::Gemini => "httpUrl",
                    Self::ClaudeDesktop => return None,
                };
                members.push((key, url.to_string().into()));
            }
        }
        Some(object(members))
    }
}
