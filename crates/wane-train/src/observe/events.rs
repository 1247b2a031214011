//! TensorBoard event files: records of `u64 length, masked crc32c of it, data, masked crc32c of the data`,
//! where the data is a protobuf `Event { 1: double wall_time, 2: int64 step, 3: string file_version,
//! 5: Summary { 1: Value { 1: string tag, 2: float simple_value } } }`. Only what these records need of
//! protobuf is written here: varints, fixed numbers, strings, nested messages.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Error, Result};

/// Appends scalars to one event file.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Starts a new event file in `folder`; a resumed run adds a file, TensorBoard joins them.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("events.out.tfevents.{}.{:09}.wane", time.as_secs(), time.subsec_nanos());
        let path = folder.join(name);
        let file = File::create(&path).map_err(Error::io(&path))?;
        let mut writer = Self { path, file };
        let mut event = time_field(time.as_secs_f64());
        bytes_field(3, b"brain.Event:2", &mut event);
        writer.record(&event)?;
        Ok(writer)
    }

    /// Writes scalars of one step.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut message = Vec::new();
            bytes_field(1, tag.as_bytes(), &mut message);
            key(2, 5, &mut message);
            message.extend((*value as f32).to_le_bytes());
            bytes_field(1, &message, &mut summary);
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut event = time_field(time.as_secs_f64());
        key(2, 0, &mut event);
        varint(step, &mut event);
        bytes_field(5, &summary, &mut event);
        self.record(&event)
    }

    fn record(&mut self, data: &[u8]) -> Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut bytes = length.to_vec();
        bytes.extend(masked_crc(&length).to_le_bytes());
        bytes.extend(data);
        bytes.extend(masked_crc(data).to_le_bytes());
        self.file.write_all(&bytes).map_err(Error::io(&self.path))
    }
}

fn time_field(seconds: f64) -> Vec<u8> {
    let mut event = Vec::new();
    key(1, 1, &mut event);
    event.extend(seconds.to_le_bytes());
    event
}

fn key(field: u64, wire: u64, to: &mut Vec<u8>) {
    varint(field << 3 | wire, to);
}

fn varint(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn bytes_field(field: u64, bytes: &[u8], to: &mut Vec<u8>) {
    key(field, 2, to);
    varint(bytes.len() as u64, to);
    to.extend(bytes);
}

/// CRC-32C (Castagnoli), bit by bit: records are a few hundred bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| (c >> 1) ^ (0x82F6_3B78 & (c & 1).wrapping_neg()))
    })
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_of_the_standard_test_string() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn records_frame_the_scalars() {
        let folder = tempfile::tempdir().expect("folder");
        let mut writer = EventWriter::create(folder.path()).expect("creates");
        writer.scalars(300, &[("loss", 2.5)]).expect("writes");
        let bytes = std::fs::read(&writer.path).expect("reads");
        let mut events = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let n = u64::from_le_bytes(rest[..8].try_into().expect("8 bytes")) as usize;
            assert_eq!(rest[8..12], masked_crc(&rest[..8]).to_le_bytes());
            assert_eq!(rest[12 + n..16 + n], masked_crc(&rest[12..12 + n]).to_le_bytes());
            events.push(&rest[12..12 + n]);
            rest = &rest[16 + n..];
        }
        assert_eq!(events.len(), 2);
        assert!(events[0].ends_with(b"brain.Event:2"));
        // Behind key and time: step 300 as a varint, then the summary.
        let expected =
            [&[0x10, 0xAC, 0x02, 0x2A, 13, 0x0A, 11, 0x0A, 4][..], b"loss", &[0x15], &2.5f32.to_le_bytes()];
        assert_eq!(events[1][9..], expected.concat());
    }
}
