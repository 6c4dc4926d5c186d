//! Values under numbers that are used again, with a count of the uses in the key: a key whose value
//! is gone finds nothing, whoever is in its place. Knows nothing of the values.

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
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

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
        Self { places: Vec::new(), free: Vec::new() }
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
            let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
            assert!(index < u32::MAX, "the slab is full");
            self.places.push(Place { generation: 0, value: None });
            index
        });
        let place = &mut self.places[index as usize];
        let key = Key { index, generation: place.generation };
        place.value = Some(make(key));
        key
    }

    /// The value of this key.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.index()).filter(|at| at.generation == key.generation)?;
        place.value.as_ref()
    }

    /// The value of this key.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index())?;
        if place.generation == key.generation { place.value.as_mut() } else { None }
    }

    /// Takes the value of this key out; the key is worth nothing from then on.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let place =
            self.places.get_mut(key.index()).filter(|at| at.generation == key.generation)?;
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// How many values there are.
    pub(crate) const fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The keys of all values.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.places
            .iter()
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
    fn a_key_is_a_number() {
        let key = Key { index: 7, generation: u32::MAX };
        assert_eq!(key.to_bits(), 0xffff_ffff_0000_0007);
        assert_eq!(Key::from_bits(key.to_bits()), key);
        let unknown = Key::from_bits(3);
        assert_eq!(Slab::<u8>::new().remove(unknown), None);
    }
}
