//! Roots of the global `ca-file`: a company's, for the clients' bundle and for an `https://` corporate proxy. No registry
//! trusts them: the holder of their key could read a token.

use std::io;
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::authority::bundle::is_ours;
use crate::configured_file::{self, MAX_CERTIFICATES};

/// Certificates of the global `ca-file`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompanyRoots {
    /// The file, if one is configured.
    pub file: Option<PathBuf>,
    /// Its certificates, without ours.
    certificates: Vec<CertificateDer<'static>>,
}

impl CompanyRoots {
    /// Reads the file, if one is configured.
    ///
    /// # Errors
    /// [`InvalidCompanyRoots`] when the file cannot be read or has no certificate.
    pub fn read(file: Option<&Path>) -> Result<Self, InvalidCompanyRoots> {
        let Some(file) = file else { return Ok(Self::default()) };
        let text = configured_file::read(file, MAX_CERTIFICATES);
        let text = text.map_err(|error| InvalidCompanyRoots::Unreadable(file.to_owned(), error))?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(Self {
                file: Some(file.to_owned()),
                certificates: found.into_iter().filter(|root| !is_ours(root)).collect(),
            }),
            _ => Err(InvalidCompanyRoots::NoCertificate(file.to_owned())),
        }
    }

    /// The system's roots, and these.
    pub fn with(&self, system_roots: &[CertificateDer<'static>]) -> Vec<CertificateDer<'static>> {
        [system_roots, &self.certificates].concat()
    }
}

/// Error of the global `ca-file`.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCompanyRoots {
    /// The file is missing or not readable.
    #[error("cannot read {}: {}", .0.display(), .1)]
    Unreadable(PathBuf, io::Error),
    /// The file has no certificate in PEM format.
    #[error("{} has no usable certificate in PEM format", .0.display())]
    NoCertificate(PathBuf),
}
