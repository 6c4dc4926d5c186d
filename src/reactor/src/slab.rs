//! Values under numbers that are used again, with a count of the uses in the key: a key whose value
//! is gone finds nothing, whatever has its place now. Knows nothing of the values.

/// Where a value is, and which of all that were there it is. As one number it is what the kernel
/// carries for us from a request to its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// Which place.
    pub(crate) const fn index(self) -> usize {
        self.index as usize
    }

    /// The key as one number; never `u64::MAX`, for no slab has so many places.
    pub(crate) const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The inverse of [`Key::to_bits`].
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the number")]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// Values by [`Key`]. Places are used again, the one that became free last first.
///
/// They are in pieces that stay where they are: one vector would be copied each time that it grows,
/// in the middle of a crowd, and leave behind memory of sizes that nothing else asks for.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    pieces: Vec<Vec<Place<T>>>,
    free: Vec<u32>,
}

/// Places of a piece.
const PIECE: usize = 64;

#[derive(Debug)]
struct Place<T> {
    /// How often the place was emptied. After 2³² times keys repeat, by when the first is long
    /// forgotten.
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    /// Without values.
    pub(crate) const fn new() -> Self {
        Self { pieces: Vec::new(), free: Vec::new() }
    }

    /// Puts a value in a free place.
    ///
    /// # Panics
    ///
    /// With `u32::MAX` values in it already.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_| value)
    }

    /// As [`Slab::insert`], for a value that holds its own key.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = u32::try_from(self.places()).unwrap_or(u32::MAX);
            assert!(index < u32::MAX, "the slab is full");
            if self.pieces.last().is_none_or(|last| last.len() == PIECE) {
                self.pieces.push(Vec::with_capacity(PIECE));
            }
            let last = self.pieces.last_mut().expect("put there");
            last.push(Place { generation: 0, value: None });
            index
        });
        let place = &mut self.pieces[index as usize / PIECE][index as usize % PIECE];
        let key = Key { index, generation: place.generation };
        place.value = Some(make(key));
        key
    }

    /// The value of this key.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let place = self.pieces.get(key.index() / PIECE)?.get(key.index() % PIECE)?;
        if place.generation == key.generation { place.value.as_ref() } else { None }
    }

    /// The value of this key.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.place_mut(key)?;
        if place.generation == key.generation { place.value.as_mut() } else { None }
    }

    /// Takes the value of this key out; the key is worth nothing from then on.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.place_mut(key).filter(|at| at.generation == key.generation)?;
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.places() - self.free.len()
    }

    fn places(&self) -> usize {
        let last = self.pieces.last().map_or(0, Vec::len);
        self.pieces.len().saturating_sub(1) * PIECE + last
    }

    fn place_mut(&mut self, key: Key) -> Option<&mut Place<T>> {
        self.pieces.get_mut(key.index() / PIECE)?.get_mut(key.index() % PIECE)
    }

    /// The keys of all values.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.pieces
            .iter()
            .flatten()
            .zip(0..)
            .filter(|(place, _)| place.value.is_some())
            .map(|(place, index)| Key { index, generation: place.generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_an_old_key_is_not() {
        let mut slab = Slab::new();
        let [a, b] = ["a", "b"].map(|value| slab.insert(value));
        assert_eq!((slab.remove(a), slab.remove(a), slab.len()), (Some("a"), None, 1));
        let c = slab.insert_with(|key| {
            assert_eq!(key.index(), a.index());
            "c"
        });
        assert_eq!((slab.get(a), slab.get(c), slab.get(b)), (None, Some(&"c"), Some(&"b")));
        assert_eq!(slab.get_mut(a), None);
        *slab.get_mut(c).unwrap() = "d";
        assert_eq!(slab.keys().collect::<Vec<_>>(), [c, b]);
        assert_eq!((slab.remove(c), slab.remove(b), slab.len()), (Some("d"), Some("b"), 0));
    }

    #[test]
    fn keys_stay_right_beyond_a_piece() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..3 * PIECE + 1).map(|value| slab.insert(value)).collect();
        assert_eq!((slab.len(), slab.keys().collect::<Vec<_>>()), (keys.len(), keys.clone()));
        for (value, key) in keys.iter().enumerate() {
            assert_eq!(slab.get(*key), Some(&value));
            assert_eq!(slab.remove(*key), Some(value));
        }
        assert_eq!((slab.len(), slab.keys().count()), (0, 0));
    }

    #[test]
    fn a_key_is_a_number() {
        let key = Key { index: 7, generation: u32::MAX };
        assert_eq!(key.to_bits(), 0xffff_ffff_0000_0007);
        assert_eq!(Key::from_bits(key.to_bits()), key);
        let unknown = Key::from_bits(3);
        assert_eq!(Slab::<u8>::new().remove(unknown), None);
    }
}
