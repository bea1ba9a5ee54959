//! A multiplexer that serves: what is started, and how it all ends.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use futures::{
    FutureExt,
    future::{BoxFuture, select_all},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use super::{
    CliError,
    policy_file::PolicyFile,
    reload::{self, Reloads, Target},
    serve::{Compat, Serve, Transport, local},
};
use crate::{
    config::{ConfigStatus, Mode, Settings},
    fleet::Fleet,
    identity::{self, Identities},
    inbound::{About, Admin, Dispatch, Guard, Sessions, serve_http, serve_stdio, stdin, stdout},
    outbound::HttpClient,
    telemetry::{Recorder, end_traces},
};

/// How long open requests may go on once the end has begun. With [`STOP`] it stays
/// under the ten seconds a container runtime waits.
const DRAIN: Duration = Duration::from_secs(4);
/// How long children may take to end.
const STOP: Duration = Duration::from_secs(5);
/// How long the collector may take with the last traces, while they do.
const LAST_TRACES: Duration = Duration::from_secs(3);

/// What ends a program that reads its file again at SIGHUP…
const END: &[SignalKind] = &[SignalKind::terminate(), SignalKind::interrupt()];
/// …and one that has no such file.
pub(super) const END_OR_HANGUP: &[SignalKind] = &[
    SignalKind::terminate(),
    SignalKind::interrupt(),
    SignalKind::hangup(),
];

/// A multiplexer that serves.
pub(super) struct Running {
    /// Where it serves, if over HTTP.
    pub(super) url: Option<Url>,
    /// Its children.
    pub(super) fleet: Arc<Fleet>,
    door: JoinHandle<std::io::Result<()>>,
    shutdown: CancellationToken,
    ending: &'static [SignalKind],
    /// Resolves at a signal that has come since before the first child was started.
    ended: BoxFuture<'static, ()>,
}

impl Running {
    /// Listens, and starts the children. The settings come from a file that is to be
    /// read again, if `reloads` says when.
    pub(super) async fn start(
        serve: &Serve,
        settings: Settings,
        reloads: Option<Reloads>,
    ) -> Result<Self, CliError> {
        let recorder = Recorder::install(serve.metrics_compat.and_then(|Compat(program)| program))
            .map_err(|error| CliError::Broken(format!("metrics cannot be recorded: {error}")))?;
        identity::describe();
        // From here on a signal is an orderly end, also while all is being started.
        let ending = match reloads {
            Some(_) => END,
            None => END_OR_HANGUP,
        };
        let ended = signalled(ending).boxed();
        let shutdown = CancellationToken::new();
        let listener = match serve.transport {
            Transport::Http => Some(serve.listen(settings.door.is_locked()).await?),
            Transport::Stdio => None,
        };
        let own = listener.as_ref().map(local).transpose()?;
        let mode = serve.mode.map(Mode::from);
        let settings = reload::checked(settings, mode, own);
        reload::warn_of(&settings);
        // The one who starts us over stdio is whoever they are.
        let listener = match listener {
            Some(listener) => {
                let guard = Guard::post(&settings.door, &shutdown)
                    .map_err(|error| CliError::Usage(error.to_string()))?;
                Some((listener, guard))
            }
            None => None,
        };
        let policy = PolicyFile::start(settings.door.policy.as_deref())?;
        let identities = Identities::start(&settings.identity, shutdown.clone())?;
        let fleet = Fleet::start(
            &settings,
            HttpClient::new()?,
            identities.clone(),
            policy.policies().clone(),
            serve.cache(),
        );
        let about = About {
            transport: match serve.transport {
                Transport::Stdio => "stdio",
                Transport::Http => "http",
            },
            mode: settings.mode.as_str(),
            exposed: own.is_some_and(|own| !own.ip().is_loopback()),
        };
        let guard = listener.as_ref().map(|(_, guard)| guard.clone());
        let (status, config) = watch::channel(ConfigStatus::of(&settings));
        let admin = Admin::new(
            about,
            config,
            Arc::clone(&fleet),
            identities,
            recorder,
            serve.entrance(settings.public_url.as_ref()),
            guard.clone(),
            shutdown.clone(),
        );
        if let Some(address) = serve.admin_addr {
            serve_admin(&admin, address, guard.clone(), serve.insecure_no_auth).await?;
        }
        let dispatch = Dispatch::new(Arc::clone(&fleet), &settings, shutdown.clone());
        let door = match listener {
            Some((listener, guard)) => {
                let sessions = Sessions::new(settings.session_keys.as_ref());
                tokio::spawn(
                    shutdown
                        .clone()
                        .run_until_cancelled_owned(sessions.clone().sweep()),
                );
                let overload = serve.overload();
                tokio::spawn(
                    shutdown
                        .clone()
                        .run_until_cancelled_owned(overload.clone().watch()),
                );
                let served = serve_http(
                    listener,
                    dispatch,
                    sessions,
                    serve.entrance(settings.public_url.as_ref()),
                    guard.clone(),
                    admin.beside(guard, serve.admin_addr.is_some()),
                    overload,
                );
                tokio::spawn(async move {
                    served.await;
                    Ok(())
                })
            }
            None => tokio::spawn(async move {
                serve_stdio(dispatch, stdin(), stdout()).await;
                Ok(())
            }),
        };
        let url = own.and_then(|own| Url::parse(&format!("http://{own}/mcp")).ok());
        match &url {
            Some(url) => info!(%url, children = settings.children.len(), "listening"),
            None => info!(
                children = settings.children.len(),
                "serving on stdin and stdout"
            ),
        }
        if let Some(reloads) = reloads {
            let reloading = reloads.run(Target {
                settings,
                mode,
                own,
                fleet: Arc::clone(&fleet),
                guard,
                policy,
                status,
            });
            tokio::spawn(shutdown.clone().run_until_cancelled_owned(reloading));
        }
        Ok(Self {
            url,
            fleet,
            door,
            shutdown,
            ending,
            ended,
        })
    }

    /// Serves until a signal or the end of stdin, then drains and ends everything.
    pub(super) async fn until_ended(mut self) -> Result<(), CliError> {
        let ended = std::mem::replace(&mut self.ended, std::future::pending().boxed());
        self.until(ended).await
    }

    /// Serves until something is over, then drains and ends everything.
    pub(super) async fn until(mut self, over: impl Future<Output = ()>) -> Result<(), CliError> {
        let ended = tokio::select! {
            ended = &mut self.door => Some(ended),
            () = over => None,
        };
        let mut again = pin!(signalled(self.ending));
        info!(seconds = DRAIN.as_secs(), "draining");
        self.shutdown.cancel();
        let ended = match ended {
            Some(ended) => Some(ended),
            None => tokio::select! {
                drained = tokio::time::timeout(DRAIN, &mut self.door) => drained.ok(),
                () = &mut again => {
                    warn!("ended at a second signal, with requests open");
                    return Ok(());
                }
            },
        };
        self.door.abort();
        let stopped = async {
            let stopping = tokio::time::timeout(STOP, self.fleet.stop());
            tokio::join!(stopping, end_traces(LAST_TRACES)).0
        };
        tokio::select! {
            stopped = stopped => match stopped {
                Ok(()) => info!("ended"),
                // The watchdog ends what is left of them.
                Err(_) => warn!("ended, and not every child has"),
            },
            () = again => warn!("ended at a second signal, before every child has"),
        }
        match ended {
            Some(Ok(Err(error))) => Err(CliError::io("serving")(error)),
            Some(Err(panic)) if panic.is_panic() => Err(CliError::Broken(
                "serving has failed; the log says where".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

/// Beyond loopback strangers may reach it: there the lock of the door tells them from
/// those who may know everything.
async fn serve_admin(
    admin: &Admin,
    address: SocketAddr,
    door: Option<Guard>,
    insecure: bool,
) -> Result<(), CliError> {
    let guard = match address.ip().is_loopback() || insecure {
        true => None,
        false => Some(door.filter(Guard::is_strict).ok_or_else(|| {
            CliError::Usage(format!(
                "--admin-addr {address} is reachable from other machines: lock the door with a \
                 strict \"auth\", or add --insecure-no-auth if a private network protects it"
            ))
        })?),
    };
    let listener = TcpListener::bind(address)
        .await
        .map_err(CliError::io(format!("cannot listen on {address}")))?;
    info!(url = %format!("http://{}", local(&listener)?), "admin listening");
    let admin = admin.clone();
    tokio::spawn(async move { admin.serve(listener, guard).await });
    Ok(())
}

/// Resolves at one of these signals that comes after the call.
pub(super) fn signalled(by: &'static [SignalKind]) -> impl Future<Output = ()> {
    // Listened to from here on, not only from the first poll.
    let received: Vec<_> = by
        .iter()
        .map(|kind| {
            let signals = signal(*kind);
            Box::pin(async {
                match signals {
                    Ok(mut signals) => {
                        signals.recv().await;
                    }
                    Err(_) => std::future::pending().await,
                }
            })
        })
        .collect();
    select_all(received).map(|_| ())
}
