//! Reads pickles without running anything.
//!
//! A pickle is a program for a stack machine that may call any Python function. Here calls build
//! exactly three things: a tensor (a record of where its numbers are), a parameter (its tensor) and
//! an ordered dictionary. Every other class or function becomes an opaque mapping of what is put
//! into it. All values live in one arena and refer to each other by index, so that cyclic pickles
//! neither leak nor recurse.

use std::collections::HashMap;

pub(super) type Id = usize;
type Result<T> = std::result::Result<T, String>;

/// A value of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes,
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function by its full name.
    Global(String),
    /// A member of the archive, typed.
    Storage {
        class: String,
        key: String,
        elements: usize,
    },
    /// A view of a storage, sizes in elements.
    Tensor {
        storage: Id,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    },
    /// An instance of an unknown class with the items that were put into it.
    Opaque(Vec<(Id, Id)>),
}

/// A whole pickle.
pub(super) struct Pickle {
    nodes: Vec<Node>,
    pub(super) root: Id,
}

impl Pickle {
    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// The items of a dictionary or of an opaque mapping.
    pub(super) fn items(&self, id: Id) -> &[(Id, Id)] {
        match &self.nodes[id] {
            Node::Dict(items) | Node::Opaque(items) => items,
            _ => &[],
        }
    }

    /// The value under a text key.
    pub(super) fn get(&self, id: Id, key: &str) -> Option<Id> {
        let is_key = |id: Id| matches!(&self.nodes[id], Node::Text(text) if text == key);
        self.items(id).iter().rev().find(|(name, _)| is_key(*name)).map(|(_, value)| *value)
    }
}

/// Runs the program in `content`.
pub(super) fn parse(content: &[u8]) -> Result<Pickle> {
    let mut machine = Machine {
        content,
        position: 0,
        nodes: vec![Node::None],
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        items: 0,
    };
    let root = machine.run()?;
    Ok(Pickle { nodes: machine.nodes, root })
}

struct Machine<'a> {
    content: &'a [u8],
    position: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    // How many items were put into mappings: state may be shared between objects, and a small
    // file must not grow into a large one.
    items: usize,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Id> {
        loop {
            let at = self.position;
            let opcode = self.take(1)?[0];
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)
                .map_err(|problem| format!("{problem} (pickle opcode 0x{opcode:02x} at {at})"))?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            // Protocol and frame marks carry nothing.
            0x80 => self.take(1).map(|_| ()),
            0x95 => self.take(8).map(|_| ()),
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'K' => self.int(1, false),
            b'M' => self.int(2, false),
            b'J' => self.int(4, true),
            0x8a => {
                let length = self.length(1)?;
                self.long(length)
            }
            0x8b => {
                let length = self.length(4)?;
                self.long(length)
            }
            b'G' => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(self.take(8)?);
                self.push(Node::Float(f64::from_be_bytes(bytes)))
            }
            b'I' => {
                let text = self.line()?;
                match text.as_str() {
                    "00" => self.push(Node::Bool(false)),
                    "01" => self.push(Node::Bool(true)),
                    text => {
                        self.push(Node::Int(text.parse().map_err(|_| format!("{text:?} is no integer"))?))
                    }
                }
            }
            b'L' => {
                let text = self.line()?;
                let number = text.trim_end_matches('L').parse();
                self.push(Node::Int(number.map_err(|_| format!("{text:?} is no integer"))?))
            }
            b'F' => {
                let text = self.line()?;
                self.push(Node::Float(text.parse().map_err(|_| format!("{text:?} is no number"))?))
            }
            b'X' => self.text(4),
            b'U' | 0x8c => self.text(1),
            b'T' => self.text(4),
            0x8d => self.text(8),
            b'V' => {
                let text = self.line()?;
                self.push(Node::Text(text))
            }
            b'C' => self.bytes(1),
            b'B' => self.bytes(4),
            0x8e | 0x96 => self.bytes(8),
            b']' | 0x8f => self.push(Node::List(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b't' | 0x91 => {
                let items = self.above_mark()?;
                self.push(Node::Tuple(items))
            }
            b'l' => {
                let items = self.above_mark()?;
                self.push(Node::List(items))
            }
            b'd' => {
                let items = self.above_mark()?;
                let pairs = pairs(&items)?;
                self.push(Node::Dict(pairs))
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let start = self.stack.len().checked_sub(count).ok_or("the stack is empty")?;
                self.check_mark(start)?;
                let items = self.stack.split_off(start);
                self.push(Node::Tuple(items))
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])
            }
            b'e' | 0x90 => {
                let items = self.above_mark()?;
                self.append(items)
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(vec![(key, value)])
            }
            b'u' => {
                let items = self.above_mark()?;
                self.set_items(pairs(&items)?)
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.push(Node::Global(format!("{module}.{name}")))
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                match (&self.nodes[module], &self.nodes[name]) {
                    (Node::Text(module), Node::Text(name)) => {
                        let name = format!("{module}.{name}");
                        self.push(Node::Global(name))
                    }
                    _ => Err("a class name must be text".into()),
                }
            }
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let callable = self.pop()?;
                self.call(callable, arguments)
            }
            0x92 => {
                let _keywords = self.pop()?;
                let arguments = self.pop()?;
                let callable = self.pop()?;
                self.call(callable, arguments)
            }
            b'Q' => {
                let id = self.pop()?;
                self.storage(id)
            }
            b'b' => {
                let state = self.pop()?;
                self.build(state)
            }
            b'q' => {
                let slot = self.take(1)?[0];
                self.remember(slot.into())
            }
            b'r' => {
                let slot = self.u32()?;
                self.remember(slot)
            }
            0x94 => self.remember(u32::try_from(self.memo.len()).map_err(|_| "too many values".to_owned())?),
            b'h' => {
                let slot = self.take(1)?[0];
                self.recall(slot.into())
            }
            b'j' => {
                let slot = self.u32()?;
                self.recall(slot)
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.above_mark().map(|_| ()),
            b'2' => {
                let top = *self.stack.last().ok_or("the stack is empty")?;
                self.stack.push(top);
                Ok(())
            }
            _ => Err("this instruction is not known".into()),
        }
    }

    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let end = self.position.checked_add(count).filter(|&end| end <= self.content.len());
        let end = end.ok_or_else(|| format!("the pickle ends early at {}", self.position))?;
        let bytes = &self.content[self.position..end];
        self.position = end;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.content[self.position..];
        let end =
            rest.iter().position(|&byte| byte == b'\n').ok_or("the pickle ends in the middle of a line")?;
        let text = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.position += end + 1;
        Ok(text)
    }

    fn u32(&mut self) -> Result<u32> {
        self.take(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// A length of `width` bytes, little-endian.
    fn length(&mut self, width: usize) -> Result<usize> {
        let bytes = self.take(width)?;
        let value = bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        usize::try_from(value).map_err(|_| "a length is out of range".to_owned())
    }

    fn push(&mut self, node: Node) -> Result<()> {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id> {
        self.check_mark(self.stack.len().checked_sub(1).ok_or("the stack is empty")?)?;
        self.stack.pop().ok_or_else(|| "the stack is empty".into())
    }

    /// Values below the newest mark are out of reach.
    fn check_mark(&self, at: usize) -> Result<()> {
        if self.marks.last().is_some_and(|&mark| at < mark) {
            Err("the stack is empty".into())
        } else {
            Ok(())
        }
    }

    fn above_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark))
    }

    fn int(&mut self, width: usize, signed: bool) -> Result<()> {
        let value = self.length(width)? as i64;
        self.push(Node::Int(if signed { i64::from(value as i32) } else { value }))
    }

    fn long(&mut self, length: usize) -> Result<()> {
        let bytes = self.take(length)?;
        if bytes.len() > 8 {
            // No size or count is that large.
            return self.push(Node::Opaque(Vec::new()));
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, width: usize) -> Result<()> {
        let length = self.length(width)?;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Node::Text(text))
    }

    fn bytes(&mut self, width: usize) -> Result<()> {
        let length = self.length(width)?;
        self.take(length)?;
        self.push(Node::Bytes)
    }

    fn remember(&mut self, slot: u32) -> Result<()> {
        let top = *self.stack.last().ok_or("the stack is empty")?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<()> {
        let id = *self.memo.get(&slot).ok_or_else(|| format!("nothing was stored under {slot}"))?;
        self.stack.push(id);
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let target = *self.stack.last().ok_or("the stack is empty")?;
        match &mut self.nodes[target] {
            Node::List(list) => list.extend(items),
            Node::Opaque(_) => {}
            other => return Err(format!("a list was expected, not {other:?}")),
        }
        Ok(())
    }

    fn set_items(&mut self, items: Vec<(Id, Id)>) -> Result<()> {
        self.items += items.len();
        if self.items > 2 * self.content.len() {
            return Err("objects share more items than the file has bytes".into());
        }
        let target = *self.stack.last().ok_or("the stack is empty")?;
        match &mut self.nodes[target] {
            Node::Dict(list) | Node::Opaque(list) => list.extend(items),
            other => return Err(format!("a dictionary was expected, not {other:?}")),
        }
        Ok(())
    }

    /// Sets an object's state: kept for unknown classes, ignored for all others.
    fn build(&mut self, state: Id) -> Result<()> {
        let target = *self.stack.last().ok_or("the stack is empty")?;
        if let (Node::Opaque(_), Node::Dict(state)) = (&self.nodes[target], &self.nodes[state]) {
            let state = state.clone();
            return self.set_items(state);
        }
        Ok(())
    }

    fn call(&mut self, callable: Id, arguments: Id) -> Result<()> {
        let (Node::Global(name), Node::Tuple(arguments)) = (&self.nodes[callable], &self.nodes[arguments])
        else {
            return self.push(Node::Opaque(Vec::new()));
        };
        match (name.as_str(), arguments.as_slice()) {
            ("torch._utils._rebuild_tensor_v2", [storage, offset, shape, strides, ..]) => {
                let tensor = Node::Tensor {
                    storage: *storage,
                    offset: self.size(*offset)?,
                    shape: self.sizes(*shape)?,
                    strides: self.sizes(*strides)?,
                };
                if !matches!(self.nodes[*storage], Node::Storage { .. }) {
                    return Err("a tensor has no storage".into());
                }
                self.push(tensor)
            }
            ("torch._utils._rebuild_parameter", [tensor, ..]) => {
                self.stack.push(*tensor);
                Ok(())
            }
            ("collections.OrderedDict", []) => self.push(Node::Dict(Vec::new())),
            _ => self.push(Node::Opaque(Vec::new())),
        }
    }

    /// `('storage', class, key, location, elements)`.
    fn storage(&mut self, id: Id) -> Result<()> {
        let Node::Tuple(items) = &self.nodes[id] else { return Err("a storage must be a tuple".into()) };
        let [_, class, key, _, elements] = items[..] else {
            return Err("a storage must have five parts".into());
        };
        let (Node::Global(class), Node::Text(key)) = (&self.nodes[class], &self.nodes[key]) else {
            return Err("a storage must have a class and a key".into());
        };
        let storage =
            Node::Storage { class: class.clone(), key: key.clone(), elements: self.size(elements)? };
        self.push(storage)
    }

    fn size(&self, id: Id) -> Result<usize> {
        match &self.nodes[id] {
            Node::Int(value) => usize::try_from(*value).map_err(|_| format!("size {value} is negative")),
            other => Err(format!("a size must be an integer, not {other:?}")),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        match &self.nodes[id] {
            Node::Tuple(ids) | Node::List(ids) if ids.len() <= 16 => {
                ids.iter().map(|&id| self.size(id)).collect()
            }
            other => Err(format!("a shape must be a short tuple, not {other:?}")),
        }
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>> {
    match items.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err("a key has no value".into()),
    }
}
