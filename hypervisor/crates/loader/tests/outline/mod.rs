//! What is left of a file when only its outline has been read.

/// Only what [`loader::elf::outline`] names of a file, the rest zero.
pub fn outlined(image: &[u8]) -> Option<Vec<u8>> {
    let mut part = vec![0; image.len()];
    let head = image.len().min(loader::elf::HEAD);
    part[..head].copy_from_slice(&image[..head]);
    for _ in 0..loader::elf::OUTLINE_ROUNDS {
        for range in loader::elf::outline(&part)? {
            part[range.clone()].copy_from_slice(&image[range]);
        }
    }
    Some(part)
}
