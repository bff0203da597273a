//! Loopback one way, into a sink that does the least a broker must: receive, and check the CRC-32C.

use std::{
    net::SocketAddr,
    sync::mpsc::channel,
    time::{Duration, Instant},
};

use bytes::Bytes;
use corelane::runtime::{
    Runtime, RuntimeOptions,
    net::{BindOptions, TcpListener, TcpStream},
    threads,
};

use super::{LOOPBACK, Limits};
use crate::{error::Error, process::thread_cpu_seconds};

const FRAME_BYTES: usize = 64 << 10;
const FRAMES_PER_SEND: usize = 8;

pub fn measure(limits: &mut Limits, each: Duration) -> Result<(), Error> {
    let (address_sender, address) = channel();
    let sink = threads::spawn("loadgen-sink", None, move || {
        runtime()?.block_on(async {
            let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &BindOptions::default())
                .map_err(|error| Error::Io("listening", error))?;
            address_sender.send(listener.local_addr()).ok();
            let stream = listener.accept().await.map_err(|error| Error::Io("accepting", error))?;
            let (mut bytes, mut crc) = (0_u64, 0);
            let (begin, cpu) = (Instant::now(), thread_cpu_seconds(threads::thread_id()));
            loop {
                let chunk = stream.recv().await.map_err(|error| Error::Io("receiving", error))?;
                if chunk.is_empty() {
                    break;
                }
                crc = crc32c::crc32c_append(crc, &chunk);
                bytes += chunk.len() as u64;
            }
            std::hint::black_box(crc);
            let cpu = thread_cpu_seconds(threads::thread_id()) - cpu;
            Ok::<_, Error>((bytes as f64, begin.elapsed().as_secs_f64(), cpu))
        })
    })
    .map_err(|error| Error::Io("starting a thread", error))?;
    let to = address.recv().map_err(|_| Error::Wrong("the sink did not start".to_owned()))?;
    runtime()?.block_on(async {
        let stream = TcpStream::connect(to).await.map_err(|error| Error::Io("connecting", error))?;
        let frame = Bytes::from(vec![0x5a; FRAME_BYTES]);
        let end = Instant::now() + each;
        while Instant::now() < end {
            stream.send(vec![frame.clone(); FRAMES_PER_SEND]).await.map_err(|error| Error::Io("sending", error))?;
        }
        Ok::<(), Error>(())
    })?;
    let (bytes, seconds, cpu) = sink.join().map_err(|_| Error::Wrong("the sink failed".to_owned()))??;
    let note = format!("one connection into a receive-and-CRC sink, {:.2} CPU-s per GB there", cpu / (bytes / 1e9));
    limits.add(LOOPBACK, "loopback, one way", bytes / 1e6 / seconds, "MB/s", &note);
    Ok(())
}

fn runtime() -> Result<Runtime, Error> {
    let options = RuntimeOptions { recv_buffer_bytes: 64 << 10, recv_buffers: 64, ..RuntimeOptions::default() };
    Runtime::new(&options).map_err(|error| Error::Wrong(error.to_string()))
}
