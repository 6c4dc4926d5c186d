//! Answers that may take long and are made in bounded steps, as digests are (`hash`): SIZE in TYPE
//! A, and the listing of STAT. Dropping one between two steps cancels it.

use std::sync::Arc;

use super::lister::Lister;
use super::read::{AlignedRoom, ReadFile};
use super::root::{Lookup, Root};
use crate::limits::{ASCII_SIZE_BYTES_MAX, CONTROL_LISTING_BYTES_MAX};
use crate::protocol::ascii::ToNetwork;
use crate::protocol::file::{FileError, FileReply, ListRequest};
use crate::protocol::path::VirtualPath;

/// The size SIZE must give in TYPE A: exact, or not at all (RFC 3659 §4) \[TYPE-08\].
#[derive(Debug)]
pub struct TextSize {
    file: ReadFile,
    conversion: ToNetwork,
    /// Made when the first octet has to be read.
    room: Option<AlignedRoom>,
    octets: u64,
}

impl TextSize {
    /// Opens `path`.
    ///
    /// # Errors
    ///
    /// The refusals of opening a file.
    pub fn open(root: &Root, path: &VirtualPath) -> Result<Self, FileError> {
        let file = ReadFile::open(root, path, 0, false, Lookup::Blocking)?;
        Ok(Self { file, conversion: ToNetwork::new(), room: None, octets: 0 })
    }

    /// Counts what one read brings; `Some` is the [`FileReply::Octets`] and the end.
    ///
    /// # Errors
    ///
    /// [`FileError::Unsupported`] beyond [`ASCII_SIZE_BYTES_MAX`], and what reading said.
    pub fn step(&mut self) -> Result<Option<FileReply>, FileError> {
        // Checked as it goes: the file may grow while it is read.
        if self.file.size().max(self.file.position()) > ASCII_SIZE_BYTES_MAX {
            return Err(FileError::Unsupported);
        }
        let room = self.room.get_or_insert_with(AlignedRoom::new);
        match self.file.read_before(u64::MAX, room)? {
            [] => Ok(Some(FileReply::Octets(self.octets))),
            octets => {
                self.octets += self.conversion.converted_len(octets);
                Ok(None)
            }
        }
    }
}

/// A listing for the control connection, whole or not at all.
#[derive(Debug)]
pub struct ControlText {
    lister: Lister,
    text: Vec<u8>,
}

impl ControlText {
    /// Opens what is to be listed.
    ///
    /// # Errors
    ///
    /// The refusals of a listing.
    pub fn open(root: &Arc<Root>, request: &ListRequest) -> Result<Self, FileError> {
        let lister = Lister::open(root, request, Lookup::Blocking)?;
        Ok(Self { lister, text: Vec::new() })
    }

    /// Adds the next lines; `Some` is the [`FileReply::Listing`] and the end.
    ///
    /// # Errors
    ///
    /// [`FileError::Unsupported`] beyond [`CONTROL_LISTING_BYTES_MAX`], and what the system said.
    pub fn step(&mut self) -> Result<Option<FileReply>, FileError> {
        let more = self.lister.next(&mut self.text)?;
        if self.text.len() > CONTROL_LISTING_BYTES_MAX {
            return Err(FileError::Unsupported);
        }
        Ok((!more).then(|| FileReply::Listing(std::mem::take(&mut self.text))))
    }
}
