//! The way to a child that listens, which a test can cut.

use std::io;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A port of its own, by which everything goes to a child and back.
pub struct Wire {
    port: u16,
    target: watch::Sender<Option<String>>,
    cuts: watch::Sender<()>,
}

impl Wire {
    /// One that leads nowhere yet: who comes waits.
    pub async fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a port of the system's choice");
        let port = listener.local_addr().expect("an address").port();
        let wire = Self {
            port,
            target: watch::Sender::default(),
            cuts: watch::Sender::default(),
        };
        let (target, cuts) = (wire.target.subscribe(), wire.cuts.subscribe());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (target, mut cuts) = (target.clone(), cuts.clone());
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = carry(near, target) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        wire
    }

    /// Where the child's MCP is reached by it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// It leads to whoever listens there, a host and a port, from now on.
    pub fn lead_to(&self, target: &str) {
        self.target.send_replace(Some(target.to_owned()));
    }

    /// Ends every connection, wherever it is with what it carries.
    pub fn cut(&self) {
        self.cuts.send_replace(());
    }
}

async fn carry(mut near: TcpStream, mut target: watch::Receiver<Option<String>>) -> io::Result<()> {
    let target = target.wait_for(Option::is_some).await;
    let target = target.ok().and_then(|target| target.clone());
    let mut far = TcpStream::connect(target.unwrap_or_default()).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}
