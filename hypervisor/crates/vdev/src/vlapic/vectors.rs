//! [`Vectors`]: 256 bits, one per vector, as in IRR, ISR and TMR.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Vectors([u32; 8]);

impl Vectors {
    pub(crate) const EMPTY: Vectors = Vectors([0; 8]);

    pub(crate) fn from_words(words: [u32; 8]) -> Vectors {
        Vectors(words)
    }

    pub(crate) fn word(&self, index: u32) -> u32 {
        self.0.get(index as usize).copied().unwrap_or(0)
    }

    pub(crate) fn has(&self, vector: u8) -> bool {
        self.word(u32::from(vector) / 32) >> (vector % 32) & 1 != 0
    }

    pub(crate) fn set(&mut self, vector: u8, on: bool) {
        let bit = 1 << (vector % 32);
        if let Some(word) = self.0.get_mut(usize::from(vector / 32)) {
            *word = *word & !bit | if on { bit } else { 0 };
        }
    }

    pub(crate) fn highest(&self) -> Option<u8> {
        let at = self.0.iter().rposition(|word| *word != 0)?;
        Some((at as u32 * 32 + self.word(at as u32).ilog2()) as u8)
    }
}
