//! The admin port: metrics and health over HTTP, on the control thread (the only place of tokio and axum).
//!
//! ```text
//! GET /metrics        Prometheus text
//! GET /health/live    200 while the process answers
//! GET /health/ready   200 while clients are served, 503 before and after
//! GET /health         200 while all is well, 503 with a line for each thing that is not
//! ```

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::metrics::Metrics;
use crate::runtime::threads;

/// Connections at once: a scraper, a health check and somebody with curl, several times over.
const CONNECTIONS_MAX: usize = 64;

/// Whether clients are served.
#[derive(Debug, Default)]
pub struct Health(AtomicU8);

/// The life of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Ready,
    Stopping,
}

impl Health {
    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Stopping,
        }
    }
}

/// What the routes answer from.
#[derive(Clone, Debug)]
struct Sources {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

/// The running admin port; it stops when this is dropped.
#[derive(Debug)]
pub struct Admin {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<threads::JoinHandle<()>>,
}

impl Admin {
    /// Serves on a bound socket, on a thread of its own.
    pub fn start(socket: std::net::TcpListener, metrics: Arc<Metrics>, health: Arc<Health>) -> io::Result<Admin> {
        let address = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        let control = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let listener = {
            let _entered = control.enter();
            Bounded { listener: TcpListener::from_std(socket)?, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new()
            .route("/metrics", get(metrics_text))
            .route("/health/live", get(|| async { "live\n" }))
            .route("/health/ready", get(ready))
            .route("/health", get(health_of_all))
            .with_state(Sources { metrics, health });
        let thread = threads::spawn("corelane-admin", None, move || {
            let serve = axum::serve(listener, router).into_future();
            // Connections are not waited for: nothing is lost with an answer about a process that ends.
            control.block_on(async {
                tokio::select! {
                    _ = serve => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Admin { address, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed; the broker's data does not depend on it.
            let _ = thread.join();
        }
    }
}

async fn metrics_text(State(sources): State<Sources>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], sources.metrics.render())
}

async fn ready(State(sources): State<Sources>) -> impl IntoResponse {
    match sources.health.phase() {
        Phase::Ready => (StatusCode::OK, "ready\n"),
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

/// For whoever watches over the broker, not for whoever restarts it: a restart helps none of this by itself.
async fn health_of_all(State(sources): State<Sources>) -> impl IntoResponse {
    let mut lines = String::new();
    match sources.health.phase() {
        Phase::Ready => {}
        Phase::Starting => lines.push_str("starting\n"),
        Phase::Stopping => lines.push_str("stopping\n"),
    }
    let storage = sources.metrics.storage();
    if storage.offline_directories() > 0 {
        lines.push_str("the data directory takes no writes: see the log\n");
    }
    if storage.offline_replicas() > 0 {
        let _ = writeln!(lines, "{} partitions take no records: see the log", storage.offline_replicas());
    }
    if storage.is_disk_full() {
        lines.push_str("the disk is full: producers are refused until there is room\n");
    }
    if lines.is_empty() { (StatusCode::OK, "healthy\n".to_owned()) } else { (StatusCode::SERVICE_UNAVAILABLE, lines) }
}

/// A listener that accepts no more connections than it has places.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl axum::serve::Listener for Bounded {
    type Io = Placed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Placed, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed");
        // Its own accept waits out errors such as a lack of descriptors.
        let (stream, peer) = axum::serve::Listener::accept(&mut self.listener).await;
        (Placed { stream, _place: place }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that gives its place back when it closes.
struct Placed {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Placed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::metrics::BrokerInfo;

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    #[test]
    fn metrics_and_health_are_served_until_the_end() {
        let info = BrokerInfo {
            version: "1",
            node_id: 1,
            profile: "balanced",
            flush_acks: "none",
            io: "buffered",
            file_system: "ext4",
        };
        let metrics = Metrics::new(1, info, Vec::new());
        let health = Arc::new(Health::default());
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let admin = Admin::start(socket, Arc::clone(&metrics), Arc::clone(&health)).expect("it starts");
        let address = admin.address;
        assert!(get(address, "/health/live").starts_with("HTTP/1.1 200 "));
        assert!(get(address, "/health/ready").starts_with("HTTP/1.1 503 "));
        health.set(Phase::Ready);
        assert!(get(address, "/health/ready").starts_with("HTTP/1.1 200 "));
        assert!(get(address, "/health").ends_with("healthy\n"));
        metrics.storage().set_disk_full(true);
        metrics.storage().add_offline_replicas(2);
        let unwell = get(address, "/health");
        assert!(unwell.starts_with("HTTP/1.1 503 ") && unwell.contains("2 partitions"), "{unwell}");
        assert!(unwell.contains("disk is full"), "{unwell}");
        health.set(Phase::Stopping);
        assert!(get(address, "/health/ready").ends_with("stopping\n"));
        let text = get(address, "/metrics");
        assert!(text.contains("corelane_durability_info{log_flush_acks=\"none\""), "{text}");
        assert!(get(address, "/").starts_with("HTTP/1.1 404 "));
        drop(admin);
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}
