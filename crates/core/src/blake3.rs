//! BLAKE3 in little code: the crate of that name, which is faster, takes 4 kB of the browser's core. Other platforms use the crate.
//!
//! The names are those of the BLAKE3 specification, sections 2.1 to 2.4. Inputs are whole; digests have 32 bytes.

const IV: [u32; 8] =
    [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19];

const BLOCK_BYTES: usize = 64;
const CHUNK_BYTES: usize = 1024;
const ROUNDS: usize = 7;

const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 1 << 1;
const PARENT: u32 = 1 << 2;
const ROOT: u32 = 1 << 3;
const KEYED_HASH: u32 = 1 << 4;
const DERIVE_KEY_CONTEXT: u32 = 1 << 5;
const DERIVE_KEY_MATERIAL: u32 = 1 << 6;

/// 32 bytes.
pub(crate) type Digest = [u8; 32];

/// The hash of the input.
pub(crate) fn hash(input: &[u8]) -> Digest {
    digest(IV, 0, input)
}

/// The hash of the input under a key.
pub(crate) fn keyed_hash(key: &Digest, input: &[u8]) -> Digest {
    digest(words(key), KEYED_HASH, input)
}

/// A key of its own for each context and material.
pub(crate) fn derive_key(context: &str, material: &[u8]) -> Digest {
    let context = digest(IV, DERIVE_KEY_CONTEXT, context.as_bytes());
    digest(words(&context), DERIVE_KEY_MATERIAL, material)
}

fn digest(key: [u32; 8], flags: u32, input: &[u8]) -> Digest {
    let mut digest = [0; 32];
    let root = subtree(&key, flags, input, 0);
    for (bytes, word) in digest.chunks_exact_mut(4).zip(root.compress(ROOT)) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

/// The words of bytes, little-endian; zeros where the bytes end.
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut padded = [0; BLOCK_BYTES];
    for (to, from) in padded.iter_mut().zip(bytes) {
        *to = *from;
    }
    let (fours, _) = padded.as_chunks();
    let mut words = [0; N];
    for (word, four) in words.iter_mut().zip(fours) {
        *word = u32::from_le_bytes(*four);
    }
    words
}

/// What the compression function takes. The last one of a tree is compressed as the root.
struct Node {
    chaining: [u32; 8],
    block: [u32; 16],
    counter: u64,
    length: usize,
    flags: u32,
}

/// The node of an input whose first chunk has this number.
fn subtree(key: &[u32; 8], flags: u32, input: &[u8], counter: u64) -> Node {
    if input.len() <= CHUNK_BYTES {
        return chunk(key, flags, input, counter);
    }
    // The left side is full: the largest power of two of chunks that leaves the right side something.
    let chunks = (input.len() - 1) / CHUNK_BYTES;
    let left_chunks = 1 << chunks.ilog2();
    let (left, right) = input.split_at(left_chunks * CHUNK_BYTES);
    let left = subtree(key, flags, left, counter).compress(0);
    let right = subtree(key, flags, right, counter + left_chunks as u64).compress(0);
    let mut block = [0; 16];
    for (word, child) in block.iter_mut().zip(left.into_iter().chain(right)) {
        *word = child;
    }
    Node { chaining: *key, block, counter: 0, length: BLOCK_BYTES, flags: flags | PARENT }
}

fn chunk(key: &[u32; 8], flags: u32, input: &[u8], counter: u64) -> Node {
    let node =
        |chaining, block: &[u8], flags| Node { chaining, block: words(block), counter, length: block.len(), flags };
    let mut rest = input;
    let mut chaining = *key;
    let mut start = CHUNK_START;
    while rest.len() > BLOCK_BYTES {
        let (block, after) = rest.split_at(BLOCK_BYTES);
        chaining = node(chaining, block, flags | start).compress(0);
        (rest, start) = (after, 0);
    }
    node(chaining, rest, flags | start | CHUNK_END)
}

/// The function G of the specification.
macro_rules! mix {
    ($a:ident, $b:ident, $c:ident, $d:ident, $x:expr, $y:expr) => {
        $a = $a.wrapping_add($b).wrapping_add($x);
        $d = ($d ^ $a).rotate_right(16);
        $c = $c.wrapping_add($d);
        $b = ($b ^ $c).rotate_right(12);
        $a = $a.wrapping_add($b).wrapping_add($y);
        $d = ($d ^ $a).rotate_right(8);
        $c = $c.wrapping_add($d);
        $b = ($b ^ $c).rotate_right(7);
    };
}

impl Node {
    /// The chaining value.
    #[expect(clippy::cast_possible_truncation, reason = "the counter is split, and no block is longer than 64 bytes")]
    fn compress(&self, flags: u32) -> [u32; 8] {
        let [mut a0, mut a1, mut a2, mut a3, mut b0, mut b1, mut b2, mut b3] = self.chaining;
        let [mut c0, mut c1, mut c2, mut c3, ..] = IV;
        let (mut d0, mut d1) = (self.counter as u32, (self.counter >> 32) as u32);
        let (mut d2, mut d3) = (self.length as u32, self.flags | flags);
        let mut m = self.block;
        for _ in 0..ROUNDS {
            mix!(a0, b0, c0, d0, m[0], m[1]);
            mix!(a1, b1, c1, d1, m[2], m[3]);
            mix!(a2, b2, c2, d2, m[4], m[5]);
            mix!(a3, b3, c3, d3, m[6], m[7]);
            mix!(a0, b1, c2, d3, m[8], m[9]);
            mix!(a1, b2, c3, d0, m[10], m[11]);
            mix!(a2, b3, c0, d1, m[12], m[13]);
            mix!(a3, b0, c1, d2, m[14], m[15]);
            m = [m[2], m[6], m[3], m[10], m[7], m[0], m[4], m[13], m[1], m[11], m[12], m[5], m[9], m[14], m[15], m[8]];
        }
        [a0 ^ c0, a1 ^ c1, a2 ^ c2, a3 ^ c3, b0 ^ d0, b1 ^ d1, b2 ^ d2, b3 ^ d3]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the test vectors of the specification: bytes that count to 250 and begin again.
    fn counting(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    fn is_as_the_crate(input: &[u8]) {
        let key = *b"whats the Elvish word for friend";
        let context = "BLAKE3 2019-12-27 16:29:52 test vectors context";
        assert_eq!(&hash(input), ::blake3::hash(input).as_bytes(), "{} bytes", input.len());
        assert_eq!(&keyed_hash(&key, input), ::blake3::keyed_hash(&key, input).as_bytes(), "{} bytes", input.len());
        assert_eq!(derive_key(context, input), ::blake3::derive_key(context, input), "{} bytes", input.len());
    }

    #[test]
    fn equal_at_every_edge_of_blocks_chunks_and_trees() {
        let edges = [0, 1, 3, 4, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025];
        let trees = [2, 3, 4, 5, 7, 8, 9, 16, 31, 64, 100].map(|chunks| chunks * CHUNK_BYTES);
        for length in edges.into_iter().chain(trees.into_iter().flat_map(|length| [length - 1, length, length + 1])) {
            is_as_the_crate(&counting(length));
        }
    }

    /// The published vector of the empty input and of one byte.
    #[test]
    fn published_vectors() {
        let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        let one = "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213";
        for (length, digest) in [(0, empty), (1, one)] {
            assert_eq!(::blake3::Hash::from_bytes(hash(&counting(length))).to_hex().as_str(), digest);
        }
    }

    proptest! {
        #[test]
        fn equal_on_random_inputs(input in prop::collection::vec(any::<u8>(), 0..5_000)) {
            is_as_the_crate(&input);
        }
    }
}
