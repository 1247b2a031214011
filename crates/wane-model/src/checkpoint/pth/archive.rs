//! The zip archive in which `torch.save` stores its files: the list of members and where their
//! bytes are. Only stored (uncompressed) members, which is all that torch writes; 64-bit sizes.

use std::collections::BTreeMap;
use std::ops::Range;

type Result<T> = std::result::Result<T, String>;

/// Byte ranges of the members by name.
pub(super) fn members(content: &[u8]) -> Result<BTreeMap<String, Range<usize>>> {
    let (count, start) = directory(content)?;
    let mut members = BTreeMap::new();
    let mut at = start;
    for _ in 0..count {
        let entry = Entry::read(content, at)?;
        at = entry.next;
        if entry.method != 0 {
            return Err(format!("member {} is compressed (torch.save never does that)", entry.name));
        }
        // The local header repeats name and extra field, with lengths of its own.
        if u32_at(content, entry.header)? != 0x0403_4b50 {
            return Err(format!("member {} has no header at {}", entry.name, entry.header));
        }
        let skip = 30
            + usize::from(u16_at(content, entry.header + 26)?)
            + usize::from(u16_at(content, entry.header + 28)?);
        let begin = entry.header + skip;
        let end = begin.checked_add(entry.size).filter(|&end| end <= content.len());
        let end =
            end.ok_or_else(|| format!("member {} of {} bytes goes beyond the end", entry.name, entry.size))?;
        members.insert(entry.name, begin..end);
    }
    Ok(members)
}

/// (number of members, start of their list), from the record at the end of the file.
fn directory(content: &[u8]) -> Result<(usize, usize)> {
    const LENGTH: usize = 22;
    let last = content.len().checked_sub(LENGTH).ok_or("it is too short for a zip archive")?;
    // A comment of at most 65535 bytes may follow the record.
    let record = (last.saturating_sub(0xffff)..=last)
        .rev()
        .find(|&at| content[at..].starts_with(b"PK\x05\x06"))
        .ok_or("it is no zip archive, or it is cut off (files of torch before 1.6 must be saved again)")?;
    let count = u16_at(content, record + 10)?;
    let start = u32_at(content, record + 16)?;
    if count != 0xffff && start != u32::MAX {
        return Ok((count.into(), start as usize));
    }
    let locator = record.checked_sub(20).filter(|&at| content[at..].starts_with(b"PK\x06\x07"));
    let locator = locator.ok_or("the 64-bit end record of the archive is missing")?;
    let record = size_at(content, locator + 8)?;
    if u32_at(content, record)? != 0x0606_4b50 {
        return Err("the 64-bit end record of the archive is damaged".into());
    }
    let count = size_at(content, record.saturating_add(32))?;
    Ok((count, size_at(content, record.saturating_add(48))?))
}

struct Entry {
    name: String,
    method: u16,
    size: usize,
    header: usize,
    next: usize,
}

impl Entry {
    fn read(content: &[u8], at: usize) -> Result<Self> {
        if u32_at(content, at)? != 0x0201_4b50 {
            return Err(format!("the archive's list of members is damaged at {at}"));
        }
        let [name, extra, comment] = [28, 30, 32].map(|field| u16_at(content, at + field).map(usize::from));
        let (name, extra, comment) = (name?, extra?, comment?);
        let method = u16_at(content, at + 10)?;
        let packed = u32_at(content, at + 20)?;
        let unpacked = u32_at(content, at + 24)?;
        let header = u32_at(content, at + 42)?;
        let text = slice(content, at + 46, name)?;
        let wide = wide_fields(slice(content, at + 46 + name, extra)?);
        // 64-bit values stand in this order, each only if its 32-bit field is full.
        let mut wide = wide.iter().copied();
        let mut widen = |value: u32| {
            if value == u32::MAX {
                wide.next().ok_or("a 64-bit size is missing")
            } else {
                Ok(u64::from(value))
            }
        };
        let (unpacked, packed, header) = (widen(unpacked)?, widen(packed)?, widen(header)?);
        if method == 0 && unpacked != packed {
            return Err("a stored member has two different sizes".into());
        }
        let size = |value: u64| usize::try_from(value).map_err(|_| "a size is out of range".to_owned());
        Ok(Self {
            name: String::from_utf8_lossy(text).into_owned(),
            method,
            size: size(unpacked)?,
            header: size(header)?,
            next: at + 46 + name + extra + comment,
        })
    }
}

/// The 64-bit numbers of the extra field with tag 1.
fn wide_fields(mut extra: &[u8]) -> Vec<u64> {
    while let [a, b, c, d, rest @ ..] = extra {
        let length = usize::from(u16::from_le_bytes([*c, *d])).min(rest.len());
        if u16::from_le_bytes([*a, *b]) == 1 {
            return rest[..length]
                .as_chunks::<8>()
                .0
                .iter()
                .map(|&bytes| u64::from_le_bytes(bytes))
                .collect();
        }
        extra = &rest[length..];
    }
    Vec::new()
}

fn slice(content: &[u8], at: usize, length: usize) -> Result<&[u8]> {
    at.checked_add(length)
        .and_then(|end| content.get(at..end))
        .ok_or_else(|| format!("the archive ends early: {length} bytes are missing at {at}"))
}

fn u16_at(content: &[u8], at: usize) -> Result<u16> {
    slice(content, at, 2).map(|b| u16::from_le_bytes([b[0], b[1]]))
}

fn u32_at(content: &[u8], at: usize) -> Result<u32> {
    slice(content, at, 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

fn size_at(content: &[u8], at: usize) -> Result<usize> {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(slice(content, at, 8)?);
    usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| "a size is out of range".to_owned())
}
