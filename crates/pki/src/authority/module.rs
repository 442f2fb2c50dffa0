//! The certificates that a module gets through the workload API.

use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, SanType};

use super::{
    Authority, AuthorityError, End, Issued, ServerName, Validity, ia5, is_dns_name, server_alt_name,
};

/// How long they live at most; the issuing authority's end cuts it shorter.
pub const MODULE_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// Whose identity certificate it is.
#[derive(Debug, Clone, Copy)]
pub struct ModuleIdentityNames<'a> {
    /// The hub's host name.
    pub hub: &'a str,
    /// The device.
    pub device: &'a str,
    /// The module.
    pub module: &'a str,
}

impl Authority {
    /// Issues a module's server certificate: common name as asked for (a host
    /// name or an address), valid for that name and for the module's id without
    /// its `$`. An id that cannot be a host name is left out of the latter.
    pub fn issue_module_server(
        &self,
        common_name: &str,
        module: &str,
        validity: Validity,
    ) -> Result<Issued, AuthorityError> {
        let name: ServerName = common_name.parse()?;
        let mut alt_names = vec![server_alt_name(&name)?];
        let host = module.trim_start_matches('$');
        if is_dns_name(host) && host != common_name {
            alt_names.push(SanType::DnsName(ia5(host)?));
        }
        self.issue(End {
            common_name,
            alt_names,
            purpose: ExtendedKeyUsagePurpose::ServerAuth,
            validity,
        })
    }

    /// Issues a module's identity certificate: a client certificate with the
    /// module's id as common name and `azureiot://<hub>/devices/<device>/modules/
    /// <module>` as URI.
    ///
    /// IoT Edge puts that text, with `URI: ` before it, into a *DNS* name, which
    /// strict verifiers refuse; here it is the URI that it means to be.
    pub fn issue_module_identity(
        &self,
        names: ModuleIdentityNames<'_>,
        validity: Validity,
    ) -> Result<Issued, AuthorityError> {
        let ModuleIdentityNames { hub, device, module } = names;
        let uri = format!("azureiot://{hub}/devices/{device}/modules/{module}");
        self.issue(End {
            common_name: module,
            alt_names: vec![SanType::URI(ia5(&uri)?)],
            purpose: ExtendedKeyUsagePurpose::ClientAuth,
            validity,
        })
    }
}
