//! Requests as they arrive: looked at in the receive buffer and copied from there once, to where they are to be.

use std::rc::Rc;

use corelane::runtime::net::{RecvChunk, TcpStream};

use crate::error::Error;

/// A request longer than this is none of loadgen's.
const FRAME_BYTES_MAX: usize = 64 << 20;

pub struct Input {
    stream: Rc<TcpStream>,
    chunk: Option<RecvChunk>,
    /// Bytes of the current request that were not read yet.
    left: usize,
}

impl Input {
    pub fn new(stream: Rc<TcpStream>) -> Input {
        Input { stream, chunk: None, left: 0 }
    }

    /// Goes to the next request and gives its size; none when the peer is done.
    pub async fn next(&mut self) -> Result<Option<usize>, Error> {
        if self.chunk.is_none() {
            let chunk = self.stream.recv().await.map_err(|error| Error::Io("receiving", error))?;
            if chunk.is_empty() {
                return Ok(None);
            }
            self.chunk = Some(chunk);
        }
        self.left = 4;
        let size = u32::from_be_bytes(self.array().await?) as usize;
        if size > FRAME_BYTES_MAX {
            return Err(Error::Answer(format!("a request of {size} bytes")));
        }
        self.left = size;
        Ok(Some(size))
    }

    pub fn left(&self) -> usize {
        self.left
    }

    /// Hands over the next `bytes` of the request, piece by piece as they arrived.
    pub async fn each(&mut self, mut bytes: usize, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| Error::Answer("a request is cut".to_owned()))?;
        while bytes > 0 {
            let mut chunk = match self.chunk.take() {
                Some(chunk) => chunk,
                None => self.stream.recv().await.map_err(|error| Error::Io("receiving", error))?,
            };
            if chunk.is_empty() {
                return Err(Error::Closed);
            }
            let part = bytes.min(chunk.len());
            take(&chunk[..part]);
            chunk.advance(part);
            bytes -= part;
            if !chunk.is_empty() {
                self.chunk = Some(chunk);
            }
        }
        Ok(())
    }

    pub async fn skip(&mut self, bytes: usize) -> Result<(), Error> {
        self.each(bytes, |_| ()).await
    }

    pub async fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (mut array, mut at) = ([0; N], 0);
        self.each(N, |part| {
            array[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        })
        .await?;
        Ok(array)
    }

    pub async fn i16(&mut self) -> Result<i16, Error> {
        self.array().await.map(i16::from_be_bytes)
    }

    pub async fn i32(&mut self) -> Result<i32, Error> {
        self.array().await.map(i32::from_be_bytes)
    }

    pub async fn uvarint(&mut self) -> Result<usize, Error> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array().await?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Answer("a length without end".to_owned()))
    }

    /// The length of something compact: none for null.
    pub async fn compact(&mut self) -> Result<Option<usize>, Error> {
        Ok(self.uvarint().await?.checked_sub(1))
    }

    pub async fn skip_tags(&mut self) -> Result<(), Error> {
        for _ in 0..self.uvarint().await? {
            self.uvarint().await?;
            let bytes = self.uvarint().await?;
            self.skip(bytes).await?;
        }
        Ok(())
    }
}
