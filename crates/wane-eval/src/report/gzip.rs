//! Reads gzip files (RFC 1952) line by line, checked by their sums; several members in a row are one file.
//! A file that ends too early gives what it holds and then an error of kind `UnexpectedEof`.

use std::io::{Error, ErrorKind, Read, Result};

use miniz_oxide::MZFlush;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZStatus};

use super::crc32;

/// A reader of the contents.
pub(super) struct Gunzip<R> {
    source: R,
    input: Vec<u8>,
    /// Bytes of `input` that are used.
    used: usize,
    state: Box<InflateState>,
    place: Place,
    crc: u32,
    length: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Header,
    Data,
    End,
}

impl<R: Read> Gunzip<R> {
    /// Over a gzip file.
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            input: Vec::new(),
            used: 0,
            state: InflateState::new_boxed(DataFormat::Raw),
            place: Place::Header,
            crc: 0,
            length: 0,
        }
    }

    /// Makes some input available; false at the file's end.
    fn fill(&mut self) -> Result<bool> {
        if self.used < self.input.len() {
            return Ok(true);
        }
        self.input.resize(1 << 16, 0);
        let n = self.source.read(&mut self.input)?;
        self.input.truncate(n);
        self.used = 0;
        Ok(n > 0)
    }

    fn byte(&mut self) -> Result<u8> {
        if !self.fill()? {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the gzip file ends too early"));
        }
        self.used += 1;
        Ok(self.input[self.used - 1])
    }

    fn word(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(u32::from_le_bytes(bytes))
    }

    fn header(&mut self) -> Result<()> {
        for expected in [0x1f, 0x8b, 8] {
            if self.byte()? != expected {
                return Err(Error::new(ErrorKind::InvalidData, "this is no gzip file"));
            }
        }
        let flags = self.byte()?;
        // Time, compressor, system.
        for _ in 0..6 {
            self.byte()?;
        }
        if flags & 4 != 0 {
            let extra = u16::from_le_bytes([self.byte()?, self.byte()?]);
            for _ in 0..extra {
                self.byte()?;
            }
        }
        // A name and a comment, each ended by a zero.
        for flag in [8, 16] {
            while flags & flag != 0 && self.byte()? != 0 {}
        }
        if flags & 2 != 0 {
            self.byte()?;
            self.byte()?;
        }
        Ok(())
    }
}

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, output: &mut [u8]) -> Result<usize> {
        loop {
            match self.place {
                Place::End => return Ok(0),
                Place::Header => {
                    self.header()?;
                    self.state.reset(DataFormat::Raw);
                    (self.crc, self.length) = (0, 0);
                    self.place = Place::Data;
                }
                Place::Data => {
                    let more = self.fill()?;
                    let result = inflate(&mut self.state, &self.input[self.used..], output, MZFlush::None);
                    self.used += result.bytes_consumed;
                    let bytes = &output[..result.bytes_written];
                    self.crc = crc32::extend(self.crc, bytes);
                    self.length = self.length.wrapping_add(bytes.len() as u32);
                    let ended = match result.status {
                        Ok(MZStatus::StreamEnd) => true,
                        Ok(_) | Err(MZError::Buf) => false,
                        Err(e) => {
                            let message = format!("the gzip file is damaged ({e:?})");
                            return Err(Error::new(ErrorKind::InvalidData, message));
                        }
                    };
                    if ended {
                        if [self.word()?, self.word()?] != [self.crc, self.length] {
                            let message = "the gzip file is damaged: its sums do not match its contents";
                            return Err(Error::new(ErrorKind::InvalidData, message));
                        }
                        self.place = if self.fill()? { Place::Header } else { Place::End };
                    } else if !more && result.bytes_written == 0 {
                        return Err(Error::new(ErrorKind::UnexpectedEof, "the gzip file ends too early"));
                    }
                    if result.bytes_written > 0 {
                        return Ok(result.bytes_written);
                    }
                }
            }
        }
    }
}

/// `bytes` as a gzip file, for tests.
#[cfg(test)]
pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    file.extend(miniz_oxide::deflate::compress_to_vec(bytes, 6));
    file.extend(crc32::extend(0, bytes).to_le_bytes());
    file.extend((bytes.len() as u32).to_le_bytes());
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(file: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Gunzip::new(file).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Python: `gzip.GzipFile("n", "wb", 9, file, 0).write(b"one\ntwo\n")`; the header has a name.
    const PYTHON: [u8; 30] = [
        31, 139, 8, 8, 0, 0, 0, 0, 2, 255, 110, 0, 203, 207, 75, 229, 42, 41, 207, 231, 2, 0, 230, 11, 186,
        18, 8, 0, 0, 0,
    ];

    #[test]
    fn reads_what_others_packed() {
        assert_eq!(unpack(&PYTHON[..]).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn members_follow_each_other() {
        let long: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let mut file = pack(&long);
        file.extend(pack(b""));
        file.extend(pack(b"end"));
        let mut expected = long;
        expected.extend(b"end");
        assert_eq!(unpack(&file).unwrap(), expected);
    }

    #[test]
    fn damage_is_seen() {
        let mut file = pack(b"some text that is long enough");
        let kind = |file: &[u8]| unpack(file).unwrap_err().kind();
        assert_eq!(kind(&file[..file.len() - 12]), ErrorKind::UnexpectedEof);
        assert_eq!(kind(&file[..4]), ErrorKind::UnexpectedEof);
        assert_eq!(kind(b"not a gzip file"), ErrorKind::InvalidData);
        let sum = file.len() - 8;
        file[sum] ^= 1;
        assert_eq!(kind(&file), ErrorKind::InvalidData);
    }
}
