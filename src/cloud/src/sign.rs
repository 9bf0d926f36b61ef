//! Signature version 4, by AWS's own crate. Pure: the time is given.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode,
};
use aws_sigv4::sign::v4;
use std::time::SystemTime;

/// A request without its signature.
#[derive(Clone, Debug)]
pub(crate) struct Unsigned<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// The whole address, encoded as it is sent.
    pub url: &'a str,
    /// Headers that are signed too.
    pub headers: &'a [(String, String)],
    /// The body.
    pub body: &'a [u8],
}

/// What a signature counts for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// The region.
    pub region: &'a str,
    /// The service, as signatures name it.
    pub service: &'a str,
    /// When. AWS accepts five minutes to either side.
    pub time: SystemTime,
}

/// The headers that sign `request`.
///
/// # Errors
/// The request cannot be one.
pub(crate) fn sign(
    request: &Unsigned<'_>,
    credentials: &Credentials,
    scope: Scope<'_>,
) -> Result<Vec<(String, String)>, String> {
    let mut settings = SigningSettings::default();
    if scope.service == "s3" {
        // An object's key is a name and no path: it is encoded once and taken as it is.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(scope.time)
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let body = SignableBody::Bytes(request.body);
    let signable = SignableRequest::new(request.method, request.url, headers, body)
        .map_err(|error| error.to_string())?;
    let signed = aws_sigv4::http_request::sign(signable, &params);
    let (instructions, _) = signed.map_err(|error| error.to_string())?.into_parts();
    let added = instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(added.collect())
}

#[cfg(test)]
mod tests;
