//! Who is logged in and what that user may do. Values only: passwords, hashes and certificates
//! belong to `auth`.

/// What a user may do in their home. Everything is off in [`Permissions::NONE`]; a configured
/// user starts from [`Permissions::READ_ONLY`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// RETR, SIZE, MDTM, HASH and the X-hash commands.
    pub read: bool,
    /// STOR and STOU under free names.
    pub create: bool,
    /// STOR over an existing file, REST + STOR below its end, RNTO over an existing file.
    pub overwrite: bool,
    /// APPE, also to a free name. Together with `create` or `overwrite` also STOR that continues at
    /// the end of an existing file.
    pub append: bool,
    /// DELE and RMD.
    pub delete: bool,
    /// RNFR and RNTO; over an existing file only with `overwrite` or `delete`.
    pub rename: bool,
    /// MKD and SITE MKDIR.
    pub mkdir: bool,
    /// SITE CHMOD and the fact UNIX.mode of MFF.
    pub chmod: bool,
    /// MFMT, MDTM with a time, SITE UTIME and the fact modify of MFF.
    pub mtime: bool,
    /// LIST, NLST, MLSD, MLST, STAT with a pathname, and CWD's visibility of directories.
    pub list: bool,
}

impl Permissions {
    /// Nothing at all.
    pub const NONE: Self = Self {
        read: false,
        create: false,
        overwrite: false,
        append: false,
        delete: false,
        rename: false,
        mkdir: false,
        chmod: false,
        mtime: false,
        list: false,
    };
    /// The default: read and list.
    pub const READ_ONLY: Self = Self { read: true, list: true, ..Self::NONE };
    /// Everything.
    pub const ALL: Self = Self {
        read: true,
        create: true,
        overwrite: true,
        append: true,
        delete: true,
        rename: true,
        mkdir: true,
        chmod: true,
        mtime: true,
        list: true,
    };

    /// Whether RNTO may take a name from an existing file. With the right to delete it could be
    /// done in two steps.
    #[must_use]
    pub const fn may_replace_by_rename(&self) -> bool {
        self.overwrite || self.delete
    }

    /// What an upload may do to names.
    #[must_use]
    pub const fn store_rights(&self) -> StoreRights {
        StoreRights { create: self.create, overwrite: self.overwrite }
    }
}

/// What an upload may do to names. APPE needs neither: it adds to what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreRights {
    /// Take a free name.
    pub create: bool,
    /// Take a name from an existing file.
    pub overwrite: bool,
}

impl StoreRights {
    /// Both.
    pub const ALL: Self = Self { create: true, overwrite: true };
}

/// A user whose log-in succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name as configured.
    pub name: String,
    /// Which storage root this account sees; an index into the roots the shard opened.
    pub home: HomeId,
    /// What the account may do there.
    pub permissions: Permissions,
    /// Whether uploads may end without close_notify; `None` where policy decides for all.
    pub lax_upload_eof: Option<bool>,
}

/// Names one opened home directory. Meaningful only together with the table that issued it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HomeId(pub u32);
