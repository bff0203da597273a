//! A proxy between the load generator and a broker that does one wrong to one batch on its way in: to whoever looks from
//! outside, the broker behind it loses, doubles, moves or changes a record.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use bytes::BytesMut;
use corelane::protocol::{ApiKey, Message, ProduceRequest, Reader, Records, RequestHeader, Writer};
use corelane::record::{BatchBuilder, BatchHeader, BatchOptions, RecordIter};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wrong {
    Nothing,
    Drop,
    Duplicate,
    Reorder,
    Corrupt,
}

/// Which produce request is tampered with, counted over all connections.
const VICTIM: u32 = 12;

/// Listens on a port and passes everything on to the broker's, once that is known.
pub struct Proxy {
    listener: TcpListener,
    pub port: u16,
}

impl Proxy {
    pub fn bind() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        Proxy { listener, port }
    }

    /// Serves in the background until the process ends. Gives the count of batches that were tampered with.
    pub fn serve(self, to: u16, wrong: Wrong) -> Arc<AtomicU32> {
        let (done, seen) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let wronged = Arc::clone(&done);
        thread::spawn(move || {
            for client in self.listener.incoming().map_while(Result::ok) {
                let (done, seen) = (Arc::clone(&done), Arc::clone(&seen));
                thread::spawn(move || pass(client, to, wrong, &seen, &done));
            }
        });
        wronged
    }
}

fn pass(mut client: TcpStream, to: u16, wrong: Wrong, seen: &AtomicU32, done: &AtomicU32) {
    let Ok(mut broker) = TcpStream::connect(("127.0.0.1", to)) else { return };
    let _ = (client.set_nodelay(true), broker.set_nodelay(true));
    let (mut from, mut back) = (broker.try_clone().expect("a clone"), client.try_clone().expect("a clone"));
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    loop {
        let mut size = [0; 4];
        if client.read_exact(&mut size).is_err() {
            break;
        }
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        if client.read_exact(&mut frame).is_err() {
            break;
        }
        let is_produce = frame[..2] == [0, 0];
        if is_produce && wrong != Wrong::Nothing && seen.fetch_add(1, Ordering::Relaxed) == VICTIM {
            frame = tamper(&frame, wrong);
            done.fetch_add(1, Ordering::Relaxed);
        }
        let size = (frame.len() as u32).to_be_bytes();
        if broker.write_all(&size).and_then(|()| broker.write_all(&frame)).is_err() {
            break;
        }
    }
    let _ = broker.shutdown(Shutdown::Both);
}

/// The same request with one record of its first batch wronged. The batch is sound in itself: its checksum holds.
fn tamper(frame: &[u8], wrong: Wrong) -> Vec<u8> {
    let mut reader = Reader::new(BytesMut::from(frame));
    let header = RequestHeader::decode(&mut reader).expect("a request");
    assert_eq!(header.request_api_key, ApiKey::Produce);
    let mut request = ProduceRequest::decode(&mut reader, header.request_api_version).expect("a produce request");
    let partition = &mut request.topic_data[0].partition_data[0];
    let Records::Inline(batch) = std::mem::take(&mut partition.records) else { panic!("no records") };
    let of = BatchHeader::parse(&batch).expect("a batch");
    let mut records = RecordIter::new(&batch).expect("a batch");
    let mut values = Vec::new();
    while let Some(record) = records.next_record().expect("a record") {
        values.push(record.value.unwrap_or_default().to_vec());
    }
    assert!(values.len() >= 3, "a batch of {} records cannot be wronged in its middle", values.len());
    match wrong {
        Wrong::Nothing => {}
        Wrong::Drop => drop(values.remove(1)),
        Wrong::Duplicate => values.insert(1, values[1].clone()),
        Wrong::Reorder => values.swap(1, 2),
        Wrong::Corrupt => *values[1].last_mut().expect("a value") ^= 0x20,
    }
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for value in &values {
        builder.append(of.base_timestamp, None, Some(value), &[]);
    }
    partition.records = Records::Inline(builder.build());
    let mut writer = Writer::new();
    header.encode(&mut writer).expect("it was read");
    request.encode(&mut writer, header.request_api_version).expect("it was read");
    writer.into_bytes().to_vec()
}
