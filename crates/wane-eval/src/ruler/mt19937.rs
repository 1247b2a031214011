//! Python's global random generator: MT19937 (Matsumoto and Nishimura 1998), seeded with
//! `init_by_array`, and CPython's algorithms on top of it (`random.py`, unchanged for these calls
//! since 3.2). RULER's samples are defined by this stream.
//!
//! Does not do: floating-point distributions other than `random()`, integers above 128 bits.

const N: usize = 624;
const M: usize = 397;

/// MT19937 with the calls of Python's `random.Random`.
#[derive(Debug, Clone)]
pub struct PythonRandom {
    state: [u32; N],
    next: usize,
}

impl PythonRandom {
    /// `random.Random(seed)` for an integer seed.
    pub fn new(seed: u64) -> Self {
        let key: &[u32] = &[seed as u32, (seed >> 32) as u32];
        Self::from_key(if seed >> 32 == 0 { &key[..1] } else { key })
    }

    /// A generator whose state is `init_genrand(seed)`: numpy's legacy `np.random.seed(seed)`.
    pub fn numpy(seed: u32) -> Self {
        Self { state: genrand(seed), next: N }
    }

    fn from_key(key: &[u32]) -> Self {
        let mut s = genrand(19_650_218);
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            s[i] = (s[i] ^ (s[i - 1] ^ (s[i - 1] >> 30)).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            i += 1;
            j = (j + 1) % key.len();
            if i == N {
                s[0] = s[N - 1];
                i = 1;
            }
        }
        for _ in 0..N - 1 {
            s[i] = (s[i] ^ (s[i - 1] ^ (s[i - 1] >> 30)).wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            i += 1;
            if i == N {
                s[0] = s[N - 1];
                i = 1;
            }
        }
        s[0] = 0x8000_0000;
        Self { state: s, next: N }
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// `random()`: a double in [0, 1) with 53 random bits.
    pub fn random(&mut self) -> f64 {
        let (high, low) = (self.next_u32() >> 5, self.next_u32() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// `getrandbits(128)`: the first word is the least significant.
    pub fn bits128(&mut self) -> u128 {
        (0..4).fold(0, |sum, word| sum | (u128::from(self.next_u32()) << (32 * word)))
    }

    /// `_randbelow(n)`: a number below `n`, by rejection. `n` is at least 1 and below 2^32.
    pub fn below(&mut self, n: usize) -> usize {
        let n = u32::try_from(n).expect("a range below 2^32");
        let bits = 32 - n.leading_zeros();
        loop {
            let r = self.next_u32() >> (32 - bits);
            if r < n {
                return r as usize;
            }
        }
    }

    /// `randint(low, high)`, both ends included.
    pub fn integer(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// `sample(range(n), k)`: `k` different indices, in the order drawn; `None` if `k > n`, before
    /// anything is drawn.
    pub fn sample(&mut self, n: usize, k: usize) -> Option<Vec<usize>> {
        if k > n {
            return None;
        }
        let mut set_size = 21;
        if k > 5 {
            // 4 ** ceil(log(3k, 4)), with the double arithmetic of the original.
            let power = ((k * 3) as f64).ln() / 4f64.ln();
            set_size += 4usize.pow(power.ceil() as u32);
        }
        let mut result = Vec::with_capacity(k);
        if n <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            for i in 0..k {
                let j = self.below(n - i);
                result.push(pool[j]);
                pool[j] = pool[n - i - 1];
            }
        } else {
            let mut selected = std::collections::HashSet::with_capacity(k);
            for _ in 0..k {
                let mut j = self.below(n);
                while !selected.insert(j) {
                    j = self.below(n);
                }
                result.push(j);
            }
        }
        Some(result)
    }

    /// `shuffle(items)`, in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// One element of `choices(range(n))`: `floor(random() * n)`.
    pub fn choice_with_replacement(&mut self, n: usize) -> usize {
        (self.random() * n as f64) as usize
    }

    /// numpy's legacy `randint(low, high)`, `high` excluded: masked rejection on 32-bit words.
    pub fn numpy_integer(&mut self, low: u32, high: u32) -> u32 {
        let range = high - 1 - low;
        if range == 0 {
            return low;
        }
        let mask = u32::MAX >> range.leading_zeros();
        loop {
            let r = self.next_u32() & mask;
            if r <= range {
                return low + r;
            }
        }
    }
}

fn genrand(seed: u32) -> [u32; N] {
    let mut s = [0; N];
    s[0] = seed;
    for i in 1..N {
        s[i] = (s[i - 1] ^ (s[i - 1] >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
    }
    s
}

#[cfg(test)]
mod tests;
