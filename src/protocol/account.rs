//! Who is logged in and what that user may do. Values only: passwords, hashes and certificates
//! belong to `auth`.

/// What a user may do in their home. Everything is off in [`Permissions::NONE`]; a configured
/// user starts from [`Permissions::READ_ONLY`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// RETR, SIZE, MDTM, HASH and the X-hash commands.
    pub read: bool,
    /// STOR, STOU, REST + STOR, MFMT, MFF, SITE CHMOD, SITE UTIME.
    pub write: bool,
    /// APPE, and STOR that continues at the end of an existing file.
    pub append: bool,
    /// DELE and RMD.
    pub delete: bool,
    /// RNFR and RNTO.
    pub rename: bool,
    /// MKD.
    pub mkdir: bool,
    /// LIST, NLST, MLSD, MLST, STAT with a pathname, and CWD's visibility of directories.
    pub list: bool,
}

impl Permissions {
    /// Nothing at all.
    pub const NONE: Self = Self {
        read: false,
        write: false,
        append: false,
        delete: false,
        rename: false,
        mkdir: false,
        list: false,
    };
    /// What a user gets unless the configuration says more: fetch and list.
    pub const READ_ONLY: Self = Self { read: true, list: true, ..Self::NONE };
    /// Everything.
    pub const ALL: Self = Self {
        read: true,
        write: true,
        append: true,
        delete: true,
        rename: true,
        mkdir: true,
        list: true,
    };
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
