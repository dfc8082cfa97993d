//! Files as they come: plain, .gz, .zst or .xz, told apart by their first bytes rather than by their names.

use super::DataError;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file being read and, if need be, decompressed.
pub(super) struct Compressed {
    /// The decompressed bytes.
    pub reader: Box<dyn Read + Send>,
    /// Bytes of the file itself.
    pub size: u64,
    /// How many of them have been read.
    pub done: Arc<AtomicU64>,
}

pub(super) fn open(path: &Path) -> Result<Compressed, DataError> {
    let fail = |error| DataError::io(path, error);
    let mut file = File::open(path).map_err(fail)?;
    let size = file.metadata().map_err(fail)?.len();
    let mut magic = Vec::with_capacity(6);
    file.by_ref().take(6).read_to_end(&mut magic).map_err(fail)?;
    let done = Arc::new(AtomicU64::new(0));
    let whole = Counted { inner: io::Cursor::new(magic.clone()).chain(file), done: done.clone() };
    let reader: Box<dyn Read + Send> = match magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::Decoder::new(whole).map_err(fail)?;
            // Windows of up to 2 GiB, as `zstd --long=31` writes; the default refuses those above 128 MiB.
            decoder.window_log_max(31).map_err(fail)?;
            Box::new(decoder)
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(lzma_rust2::XzReader::new(whole, true)),
        _ => Box::new(whole),
    };
    Ok(Compressed { reader, size, done })
}

/// Counts what passes.
struct Counted<R> {
    inner: R,
    done: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.done.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
