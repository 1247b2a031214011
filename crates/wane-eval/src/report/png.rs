//! PNG files (ISO/IEC 15948) with a palette: the colours of a picture, or, where those are more than 256,
//! its most frequent ones, others by the nearest. Charts have few colours, and edges of letters need
//! no more.
//!
//! Does not do: transparency, interlacing, row filters (which help photographs, not charts).

use rustc_hash::FxHashMap;

use super::crc32;

/// A picture of `rgb`, row by row, as a file.
///
/// # Panics
/// `rgb` holds no whole number of rows.
pub(super) fn encode(rgb: &[[u8; 3]], width: usize) -> Vec<u8> {
    assert!(width > 0 && rgb.len().is_multiple_of(width), "{} pixels in rows of {width}", rgb.len());
    let palette = palette(rgb);
    let mut nearest: FxHashMap<[u8; 3], u8> = FxHashMap::default();
    let mut rows = Vec::with_capacity(rgb.len() + rgb.len() / width);
    for row in rgb.chunks_exact(width) {
        // Filter 0: bytes as they are.
        rows.push(0);
        rows.extend(row.iter().map(|c| *nearest.entry(*c).or_insert_with(|| find(&palette, *c))));
    }
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::new();
    header.extend((width as u32).to_be_bytes());
    header.extend(((rgb.len() / width) as u32).to_be_bytes());
    // Eight bits, a palette, deflate, filters by row, no interlacing.
    header.extend([8, 3, 0, 0, 0]);
    chunk(&mut file, b"IHDR", &header);
    chunk(&mut file, b"PLTE", palette.as_flattened());
    chunk(&mut file, b"IDAT", &miniz_oxide::deflate::compress_to_vec_zlib(&rows, 9));
    chunk(&mut file, b"IEND", &[]);
    file
}

/// At most 256 colours, the most frequent first, ties by value.
fn palette(rgb: &[[u8; 3]]) -> Vec<[u8; 3]> {
    let mut counts: FxHashMap<[u8; 3], usize> = FxHashMap::default();
    rgb.iter().for_each(|c| *counts.entry(*c).or_default() += 1);
    let mut colours: Vec<([u8; 3], usize)> = counts.into_iter().collect();
    colours.sort_unstable_by_key(|(c, n)| (std::cmp::Reverse(*n), *c));
    colours.into_iter().take(256).map(|(c, _)| c).collect()
}

fn find(palette: &[[u8; 3]], colour: [u8; 3]) -> u8 {
    let distance = |c: &[u8; 3]| {
        c.iter().zip(colour).map(|(a, b)| i32::from(*a) - i32::from(b)).map(|d| d * d).sum::<i32>()
    };
    let best = palette.iter().enumerate().min_by_key(|(_, c)| distance(c));
    best.map_or(0, |(i, _)| i as u8)
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    file.extend((data.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend(kind);
    file.extend(data);
    let check = crc32::extend(0, &file[start..]);
    file.extend(check.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_picture_to_the_byte() {
        // Two pixels, black and white: zlib's stream and the sums by Python's zlib module.
        let file = encode(&[[0; 3], [255; 3]], 2);
        assert_eq!(&file[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!(&file[file.len() - 12..], &[0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82]);
        let plte = file.windows(4).position(|w| w == b"PLTE").unwrap();
        assert_eq!(&file[plte + 4..plte + 10], &[0, 0, 0, 255, 255, 255]);
        let idat = file.windows(4).position(|w| w == b"IDAT").unwrap();
        let end = file.len() - 16;
        let rows = miniz_oxide::inflate::decompress_to_vec_zlib(&file[idat + 4..end]).unwrap();
        assert_eq!(rows, [0, 0, 1]);
    }

    #[test]
    fn many_colours_become_the_nearest_of_the_frequent_ones() {
        // 300 greys and blues once each, white often.
        let mut rgb = vec![[255; 3]; 1000];
        rgb.extend((0..300).map(|i| [(i % 256) as u8, 0, (i / 256) as u8]));
        let palette = palette(&rgb);
        assert_eq!((palette.len(), palette[0]), (256, [255; 3]));
        assert_eq!(palette[usize::from(find(&palette, [250, 250, 251]))], [255; 3]);
        assert_eq!(encode(&rgb, 100).len(), encode(&rgb, 100).len());
    }
}
