//! Random messages as bytes, made from a schema without the codec: what both codecs are asked to read.

use corelane::protocol::{FieldSchema, Kind, Message, StructSchema};
use rand::Rng;
use rand::rngs::StdRng;

/// The bytes of a random message of a version, in the one form that a Kafka codec writes: tagged fields in order, and
/// only those that are not at their default.
pub fn random_message<M: Message>(version: i16, rng: &mut StdRng) -> Vec<u8> {
    let mut maker = Maker { out: Vec::new(), version, flexible: M::FLEXIBLE.contains(version), unknown: false, rng };
    maker.fields(M::SCHEMA);
    maker.out
}

/// The same with tagged fields that no schema has.
pub fn random_message_of_the_future<M: Message>(version: i16, rng: &mut StdRng) -> Vec<u8> {
    let mut maker = Maker { out: Vec::new(), version, flexible: true, unknown: true, rng };
    maker.fields(M::SCHEMA);
    maker.out
}

/// A varint of seven bits a byte.
pub fn uvarint(mut value: u32) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

struct Maker<'a> {
    out: Vec<u8>,
    version: i16,
    flexible: bool,
    /// Adds unknown tagged fields.
    unknown: bool,
    rng: &'a mut StdRng,
}

impl Maker<'_> {
    fn fields(&mut self, schema: &StructSchema) {
        let has = |field: &&FieldSchema| field.versions.contains(self.version);
        let (tagged, inline): (Vec<_>, Vec<_>) =
            schema.fields.iter().filter(has).partition(|field| field.tagged.contains(self.version));
        for field in inline {
            let nullable = field.nullable.contains(self.version);
            self.value(&field.kind, nullable, false);
        }
        if !self.flexible {
            return;
        }
        let mut chosen: Vec<(u32, Vec<u8>)> = Vec::new();
        for field in tagged {
            if self.rng.random_bool(0.7) {
                let before = std::mem::take(&mut self.out);
                self.value(&field.kind, false, true);
                chosen.push((field.tag, std::mem::replace(&mut self.out, before)));
            }
        }
        if self.unknown {
            let length = self.rng.random_range(0..300);
            chosen.push((self.rng.random_range(1000..u32::MAX), vec![0xa5; length]));
        }
        self.out.extend(uvarint(chosen.len() as u32));
        for (tag, bytes) in chosen {
            self.out.extend(uvarint(tag));
            self.out.extend(uvarint(bytes.len() as u32));
            self.out.extend(bytes);
        }
    }

    /// `unlike_default`: a tagged field, which is there only if it is not at its default.
    fn value(&mut self, kind: &Kind, nullable: bool, unlike_default: bool) {
        match kind {
            Kind::Bool => self.out.push(u8::from(unlike_default || self.rng.random_bool(0.5))),
            Kind::I8 => self.number(1, unlike_default),
            Kind::I16 | Kind::U16 => self.number(2, unlike_default),
            Kind::I32 | Kind::U32 => self.number(4, unlike_default),
            Kind::I64 | Kind::F64 => self.number(8, unlike_default),
            Kind::Uuid => self.number(16, unlike_default),
            Kind::Str => {
                let text = self.text(unlike_default);
                if self.flexible {
                    self.out.extend(uvarint(text.len() as u32 + 1));
                } else {
                    self.out.extend((text.len() as i16).to_be_bytes());
                }
                self.out.extend(text.as_bytes());
            }
            Kind::Bytes => {
                let length = self.rng.random_range(usize::from(unlike_default)..200);
                self.length(Some(length));
                let bytes: Vec<u8> = (0..length).map(|_| self.rng.random()).collect();
                self.out.extend(bytes);
            }
            Kind::Records => {
                if nullable && self.rng.random_bool(0.2) {
                    return self.length(None);
                }
                self.value(&Kind::Bytes, false, unlike_default);
            }
            Kind::Array(element) => {
                let length = self.rng.random_range(usize::from(unlike_default)..4);
                self.length(Some(length));
                for _ in 0..length {
                    self.value(element, false, false);
                }
            }
            Kind::Nullable(inner) => {
                let null = nullable && self.rng.random_bool(0.3);
                match (inner, null) {
                    (Kind::Struct(_), true) => self.out.push(0xff),
                    (Kind::Struct(_), false) => {
                        self.out.push(1);
                        self.value(inner, false, unlike_default);
                    }
                    (Kind::Str, true) if !self.flexible => self.out.extend((-1i16).to_be_bytes()),
                    (_, true) => self.length(None),
                    (_, false) => self.value(inner, false, unlike_default),
                }
            }
            Kind::Struct(schema) => self.fields_unlike_default(schema, unlike_default),
        }
    }

    fn fields_unlike_default(&mut self, schema: &StructSchema, unlike_default: bool) {
        // All tagged structs of Kafka begin with a number; random ones are never all at their default, -1 or 0,
        // when one byte of them is odd and below 255.
        let start = self.out.len();
        self.fields(schema);
        if unlike_default && let Some(byte) = self.out.get_mut(start) {
            *byte = 0x11;
        }
    }

    fn number(&mut self, size: usize, unlike_default: bool) {
        // Small and extreme values as well as any.
        let fill = match self.rng.random_range(0..6) {
            0 => Some(0x00),
            1 => Some(0xff),
            _ => None,
        };
        for i in 0..size {
            let byte = match fill {
                _ if unlike_default && i == 0 => 0x11,
                Some(byte) => byte,
                None => self.rng.random(),
            };
            self.out.push(byte);
        }
    }

    fn length(&mut self, length: Option<usize>) {
        match (length, self.flexible) {
            (Some(length), true) => self.out.extend(uvarint(length as u32 + 1)),
            (Some(length), false) => self.out.extend((length as i32).to_be_bytes()),
            (None, true) => self.out.push(0),
            (None, false) => self.out.extend((-1i32).to_be_bytes()),
        }
    }

    fn text(&mut self, unlike_default: bool) -> String {
        let length = match self.rng.random_range(0..20) {
            0 => 200,
            1 => 0,
            _ => self.rng.random_range(0..12),
        };
        let letters: Vec<char> = "abcxyz019._-é".chars().collect();
        let mut text: String = (0..length).map(|_| letters[self.rng.random_range(0..letters.len())]).collect();
        if unlike_default && text.is_empty() {
            text.push('t');
        }
        text
    }
}
