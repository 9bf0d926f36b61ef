//! Nix's own database: which paths are valid, and what they refer to.
//!
//! The tables are Nix's schema 10, unchanged since Nix 2.0, and both programs may have the file
//! open at once. We add to it and ask it; invalidating a path is the business of Nix's collector.

use crate::error::{Error, Fault, Result, Step};
use crate::hash::Sha256;
use crate::path::{STORE_DIRECTORY, StorePath};
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The schema that is written and understood here.
pub const SCHEMA: u32 = 10;

/// How long SQLite waits for another writer. Nix's own transactions last milliseconds; a `nix-store
/// --optimise` or a large `--import` on a slow disk may take many seconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// The tables of schema 10. Names, types and what follows a deletion are Nix's, since Nix reads and
/// writes them too: its collector deletes rows, and the trigger lets a path that refers to itself
/// go.
const TABLES: &str = "
    create table ValidPaths (
        id integer primary key autoincrement not null,
        path text unique not null,
        hash text not null,
        registrationTime integer not null,
        deriver text,
        narSize integer,
        ultimate integer,
        sigs text,
        ca text
    );
    create table Refs (
        referrer integer not null,
        reference integer not null,
        primary key (referrer, reference),
        foreign key (referrer) references ValidPaths(id) on delete cascade,
        foreign key (reference) references ValidPaths(id) on delete restrict
    );
    create index IndexReferrer on Refs(referrer);
    create index IndexReference on Refs(reference);
    create trigger DeleteSelfRefs before delete on ValidPaths begin
        delete from Refs where referrer = old.id and reference = old.id;
    end;
    create table DerivationOutputs (
        drv integer not null,
        id text not null,
        path text not null,
        primary key (drv, id),
        foreign key (drv) references ValidPaths(id) on delete cascade
    );
    create index IndexDerivationOutputs on DerivationOutputs(path);
";

/// What the database knows of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathInfo {
    /// The path.
    pub path: StorePath,
    /// The hash of its NAR.
    pub nar_hash: Sha256,
    /// The size of its NAR, in bytes.
    pub nar_size: u64,
    /// What it refers to, itself perhaps too, in order.
    pub references: Vec<StorePath>,
    /// What it was built from.
    pub deriver: Option<StorePath>,
    /// Its signatures, `NAME:BASE64` each.
    pub signatures: Vec<String>,
    /// The assertion that its content gives it its name, as Nix writes it.
    pub content_address: Option<String>,
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    file: PathBuf,
}

impl Database {
    /// Opens the database in `folder` (`…/nix/var/nix/db`).
    ///
    /// # Errors
    /// It is not there, not of schema 10, or not readable.
    pub fn open(folder: &Path) -> Result<Self> {
        let file = folder.join("db.sqlite");
        let schema = std::fs::read_to_string(folder.join("schema")).map_err(|_| missing(&file))?;
        if schema.trim().parse() != Ok(SCHEMA) {
            let fault = Fault::Schema { found: schema.trim().to_owned(), known: SCHEMA };
            return Err(Error::new(Step::Open, file.display(), fault));
        }
        if !file.exists() {
            return Err(missing(&file));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Self::connect(file, flags)?;
        // As Nix does: readers do not wait for a writer. The mode stays in the file; a store that
        // another process uses without it keeps what it has.
        let wal = database.connection.pragma_update(None, "journal_mode", "wal");
        if let Err(error) = wal
            && error.sqlite_error_code() != Some(rusqlite::ErrorCode::DatabaseBusy)
        {
            return Err(database.failed(Step::Open)(error));
        }
        Ok(database)
    }

    /// Makes an empty database in `folder`, which is there and has none. No write-ahead log stays
    /// behind, so that the same registrations give the same bytes.
    ///
    /// # Errors
    /// The folder is not writable, or has one.
    pub fn create(folder: &Path) -> Result<Self> {
        let file = folder.join("db.sqlite");
        std::fs::File::create_new(&file).map_err(Error::io(Step::Open, &file))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Self::connect(file, flags)?;
        let tables = format!("begin immediate; {TABLES} commit;");
        database.connection.execute_batch(&tables).map_err(database.failed(Step::Open))?;
        let schema = folder.join("schema");
        std::fs::write(&schema, SCHEMA.to_string()).map_err(Error::io(Step::Open, &schema))?;
        Ok(database)
    }

    fn connect(file: PathBuf, flags: OpenFlags) -> Result<Self> {
        let open = |error| Error::new(Step::Open, file.display(), Fault::Database(error));
        let connection = Connection::open_with_flags(&file, flags).map_err(open)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(open)?;
        // FULL: with Nix's own NORMAL a power cut may take back a commit that a swap's journal
        // already counts on, and the next collection would delete what runs.
        connection.pragma_update(None, "synchronous", "full").map_err(open)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(open)?;
        Ok(Self { connection, file })
    }

    fn failed(&self, step: Step) -> impl Fn(rusqlite::Error) -> Error + '_ {
        move |error| Error::new(step, self.file.display(), database_fault(error))
    }

    /// Whether `path` is valid.
    ///
    /// # Errors
    /// The database fails.
    pub fn is_valid(&self, path: &StorePath) -> Result<bool> {
        let failed = self.failed(Step::Query);
        let mut statement = self
            .connection
            .prepare_cached("select 1 from ValidPaths where path = ?1")
            .map_err(&failed)?;
        statement.exists([path.to_string()]).map_err(&failed)
    }

    /// The valid path of that hash part.
    ///
    /// # Errors
    /// The database fails, or holds what Nix does not write.
    pub fn find(&self, hash_part: &str) -> Result<Option<StorePath>> {
        let failed = self.failed(Step::Query);
        let from = format!("{STORE_DIRECTORY}/{hash_part}-");
        let mut statement = self
            .connection
            .prepare_cached("select path from ValidPaths where path >= ?1 order by path limit 1")
            .map_err(&failed)?;
        let next = statement.query_row([&from], |row| row.get::<_, String>(0)).optional();
        let next = next.map_err(&failed)?.filter(|path| path.starts_with(&from));
        next.map(|path| stored_path(&path)).transpose()
    }

    /// What is known of `path`; `None` if it is not valid.
    ///
    /// # Errors
    /// The database fails, or holds what Nix does not write.
    pub fn info(&self, path: &StorePath) -> Result<Option<PathInfo>> {
        let failed = self.failed(Step::Query);
        let row = self
            .connection
            .prepare_cached(
                "select id, hash, narSize, deriver, sigs, ca from ValidPaths where path = ?1",
            )
            .map_err(&failed)?
            .query_row([path.to_string()], Row::read)
            .optional()
            .map_err(&failed)?;
        let Some(row) = row else { return Ok(None) };
        let references = self.paths(
            "select path from Refs join ValidPaths on reference = id where referrer = ?1 \
             order by path",
            row.id,
        )?;
        Ok(Some(row.into_info(path.clone(), references)?))
    }

    /// `path` and all it refers to, over others too, in order; empty if it is not valid.
    ///
    /// # Errors
    /// The database fails, or holds what Nix does not write.
    pub fn closure(&self, path: &StorePath) -> Result<Vec<StorePath>> {
        self.paths(
            "with recursive Closure(id) as (
                 select id from ValidPaths where path = ?1
                 union select reference from Refs join Closure on referrer = Closure.id)
             select path from ValidPaths join Closure using (id) order by path",
            path.to_string(),
        )
    }

    /// How many paths `paths` and all they refer to are.
    ///
    /// # Errors
    /// The database fails.
    pub fn count_closure(&self, paths: &[StorePath]) -> Result<usize> {
        let failed = self.failed(Step::Query);
        let mut references = self
            .connection
            .prepare_cached("select reference from Refs where referrer = ?1")
            .map_err(&failed)?;
        let mut ids = HashMap::new();
        let mut open: Vec<i64> = Vec::new();
        for path in paths {
            open.extend(id_of(&self.connection, path, &mut ids).map_err(&failed)?);
        }
        let mut seen: HashSet<i64> = open.iter().copied().collect();
        while let Some(id) = open.pop() {
            let rows = references.query_map([id], |row| row.get::<_, i64>(0)).map_err(&failed)?;
            for reference in rows {
                let reference = reference.map_err(&failed)?;
                if seen.insert(reference) {
                    open.push(reference);
                }
            }
        }
        Ok(seen.len())
    }

    fn paths(&self, query: &str, parameter: impl rusqlite::ToSql) -> Result<Vec<StorePath>> {
        let failed = self.failed(Step::Query);
        let mut statement = self.connection.prepare_cached(query).map_err(&failed)?;
        let rows =
            statement.query_map([parameter], |row| row.get::<_, String>(0)).map_err(&failed)?;
        rows.map(|text| stored_path(&text.map_err(&failed)?)).collect()
    }

    /// Registers `infos` in one transaction, which is on the disk when this returns: first all
    /// paths, then all references, so their order does not matter. What is valid already is left as
    /// it is. Returns how many became valid.
    ///
    /// # Errors
    /// One refers to what is neither valid nor among them; or the database fails. Then nothing was
    /// registered.
    pub fn register(&mut self, infos: &[PathInfo], registration_time: u64) -> Result<usize> {
        let file = self.file.clone();
        let failed = |error| Error::new(Step::Register, file.display(), database_fault(error));
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let mut fresh = Vec::new();
        for info in infos {
            if let Some(id) = insert(&transaction, info, registration_time).map_err(failed)? {
                fresh.push((id, info));
            }
        }
        let mut ids = HashMap::new();
        for (referrer, info) in &fresh {
            for reference in &info.references {
                let Some(id) = id_of(&transaction, reference, &mut ids).map_err(failed)? else {
                    let fault = Fault::Dangling(reference.clone());
                    return Err(Error::new(Step::Register, &info.path, fault));
                };
                transaction
                    .prepare_cached("insert into Refs (referrer, reference) values (?1, ?2)")
                    .and_then(|mut statement| statement.execute([*referrer, id]))
                    .map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)?;
        Ok(fresh.len())
    }
}

fn missing(file: &Path) -> Error {
    Error::new(Step::Open, file.display(), Fault::NoDatabase)
}

fn database_fault(error: rusqlite::Error) -> Fault {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => Fault::Full,
        _ => Fault::Database(error),
    }
}

/// The id of the row that was added; `None` if the path was valid already.
fn insert(
    transaction: &Transaction<'_>,
    info: &PathInfo,
    registration_time: u64,
) -> rusqlite::Result<Option<i64>> {
    let sigs = (!info.signatures.is_empty()).then(|| info.signatures.join(" "));
    let mut statement = transaction.prepare_cached(
        "insert into ValidPaths (path, hash, registrationTime, deriver, narSize, sigs, ca) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7) on conflict (path) do nothing",
    )?;
    let added = statement.execute(params![
        info.path.to_string(),
        format!("sha256:{}", info.nar_hash.hex()),
        i64::try_from(registration_time).unwrap_or(i64::MAX),
        info.deriver.as_ref().map(ToString::to_string),
        i64::try_from(info.nar_size).unwrap_or(i64::MAX),
        sigs,
        info.content_address,
    ])?;
    Ok((added == 1).then(|| transaction.last_insert_rowid()))
}

fn id_of<'info>(
    connection: &Connection,
    path: &'info StorePath,
    known: &mut HashMap<&'info StorePath, i64>,
) -> rusqlite::Result<Option<i64>> {
    if let Some(id) = known.get(path) {
        return Ok(Some(*id));
    }
    let mut statement = connection.prepare_cached("select id from ValidPaths where path = ?1")?;
    let id = statement.query_row([path.to_string()], |row| row.get(0)).optional()?;
    known.extend(id.map(|id| (path, id)));
    Ok(id)
}

fn stored_path(text: &str) -> Result<StorePath> {
    StorePath::parse(text.as_bytes())
        .map_err(|error| Error::new(Step::Query, text, Fault::Path(error)))
}

/// A row of ValidPaths, as text.
struct Row {
    id: i64,
    hash: String,
    nar_size: Option<i64>,
    deriver: Option<String>,
    sigs: Option<String>,
    ca: Option<String>,
}

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            hash: row.get(1)?,
            nar_size: row.get(2)?,
            deriver: row.get(3)?,
            sigs: row.get(4)?,
            ca: row.get(5)?,
        })
    }

    fn into_info(self, path: StorePath, references: Vec<StorePath>) -> Result<PathInfo> {
        let nar_hash = Sha256::parse(self.hash.as_bytes()).map_err(|_| {
            let fault = Fault::Registration { line: 0, what: format!("hash `{}`", self.hash) };
            Error::new(Step::Query, &path, fault)
        })?;
        Ok(PathInfo {
            nar_hash,
            nar_size: self.nar_size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            references,
            deriver: self.deriver.filter(|text| !text.is_empty()).and_then(|t| t.parse().ok()),
            signatures: self
                .sigs
                .map(|sigs| sigs.split_ascii_whitespace().map(str::to_owned).collect())
                .unwrap_or_default(),
            content_address: self.ca.filter(|text| !text.is_empty()),
            path,
        })
    }
}
