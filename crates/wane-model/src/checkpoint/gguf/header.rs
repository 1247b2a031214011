//! The container: magic, metadata, tensor list (GGUF versions 2 and 3, little-endian).
//!
//! Everything that the file says about its own sizes is checked against the bytes that are there
//! before memory is reserved for it.

use std::collections::BTreeMap;

/// A metadata value; integers of all widths are one type, and so are floats.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Array(Vec<Value>),
}

impl Value {
    pub(crate) fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => Some(*value),
            Self::Signed(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    pub(crate) fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Unsigned(value) => Some(*value as f64),
            Self::Signed(value) => Some(*value as f64),
            _ => None,
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Self::Text(value) = self { Some(value) } else { None }
    }

    pub(crate) fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(values) = self { Some(values) } else { None }
    }
}

/// Where a tensor is, as the file says it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorInfo {
    pub(crate) name: String,
    /// Outermost first (the file lists them innermost first).
    pub(crate) shape: Vec<usize>,
    /// ggml's number of the type.
    pub(crate) kind: u32,
    /// From the start of the file.
    pub(crate) offset: usize,
}

/// Everything before the data.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Header {
    pub(crate) metadata: BTreeMap<String, Value>,
    pub(crate) tensors: Vec<TensorInfo>,
}

type Result<T> = std::result::Result<T, String>;

/// Reads the header of a file's content.
pub(crate) fn parse(content: &[u8]) -> Result<Header> {
    let mut cursor = Cursor { content, position: 0 };
    if cursor.take(4).ok() != Some(b"GGUF".as_slice()) {
        return Err("it does not begin with GGUF".into());
    }
    match cursor.u32()? {
        2 | 3 => {}
        version if version.swap_bytes() <= 3 => {
            return Err("it is big-endian (only little-endian is read)".into());
        }
        version => return Err(format!("version {version} is not read (known: 2, 3)")),
    }
    let tensor_count = cursor.u64()?;
    let metadata_count = cursor.u64()?;
    let mut metadata = BTreeMap::new();
    for _ in 0..metadata_count {
        let key = cursor.text()?;
        let kind = cursor.u32()?;
        let value = cursor.value(kind, 0).map_err(|problem| format!("metadata {key:?}: {problem}"))?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("metadata {key:?} comes twice"));
        }
    }
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        tensors.push(cursor.tensor()?);
    }
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(value) => value
            .as_u64()
            .filter(|alignment| alignment.is_power_of_two() && *alignment <= 1 << 20)
            .ok_or_else(|| format!("general.alignment must be a power of two, got {value:?}"))?
            as usize,
    };
    let data = cursor.position.next_multiple_of(alignment);
    for tensor in &mut tensors {
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(format!(
                "tensor {} begins at {}, no multiple of {alignment}",
                tensor.name, tensor.offset
            ));
        }
        tensor.offset = tensor
            .offset
            .checked_add(data)
            .ok_or_else(|| format!("tensor {} begins beyond the end", tensor.name))?;
    }
    Ok(Header { metadata, tensors })
}

struct Cursor<'a> {
    content: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let end =
            self.position.checked_add(bytes).filter(|&end| end <= self.content.len()).ok_or_else(|| {
                format!(
                    "it ends early: {bytes} bytes are missing at {} of {}",
                    self.position,
                    self.content.len()
                )
            })?;
        let taken = &self.content[self.position..end];
        self.position = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn size(&mut self) -> Result<usize> {
        let value = self.u64()?;
        usize::try_from(value).map_err(|_| format!("size {value} is out of range"))
    }

    fn text(&mut self) -> Result<String> {
        let length = self.size()?;
        // Some tokens of some vocabularies are no valid UTF-8.
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value> {
        Ok(match kind {
            0 => Value::Unsigned(self.array::<1>()?[0].into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            // The f64 with the same shortest decimal: 1e-5 stays 1e-5.
            6 => {
                let value = f32::from_le_bytes(self.array()?);
                Value::Float(value.to_string().parse().unwrap_or(f64::from(value)))
            }
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => Value::Text(self.text()?),
            9 => {
                if depth > 3 {
                    return Err("arrays are nested too deep".into());
                }
                let inner = self.u32()?;
                let length = self.size()?;
                // Every element takes at least a byte.
                if length > self.content.len() - self.position {
                    return Err(format!("an array of {length} elements does not fit into the file"));
                }
                let mut values = Vec::new();
                for _ in 0..length {
                    values.push(self.value(inner, depth + 1)?);
                }
                Value::Array(values)
            }
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(format!("type {other} is unknown")),
        })
    }

    fn tensor(&mut self) -> Result<TensorInfo> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        if dimensions == 0 || dimensions > 4 {
            return Err(format!("tensor {name} has {dimensions} dimensions"));
        }
        let mut shape = (0..dimensions).map(|_| self.size()).collect::<Result<Vec<_>>>()?;
        shape.reverse();
        let kind = self.u32()?;
        let offset = self.size()?;
        Ok(TensorInfo { name, shape, kind, offset })
    }
}
