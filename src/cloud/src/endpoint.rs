//! Where each service is.

use std::collections::BTreeMap;

/// A service that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Objects.
    S3,
    /// Instances, volumes, tags.
    Ec2,
    /// Parameters.
    Ssm,
    /// Groups of instances.
    AutoScaling,
    /// Tables of items.
    DynamoDb,
    /// Load balancers.
    Elb,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::S3, Self::Ec2, Self::Ssm, Self::AutoScaling, Self::DynamoDb, Self::Elb];

    /// Its name in signatures, host names and configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Ec2 => "ec2",
            Self::Ssm => "ssm",
            Self::AutoScaling => "autoscaling",
            Self::DynamoDb => "dynamodb",
            Self::Elb => "elasticloadbalancing",
        }
    }

    /// The variable from which AWS's own tools read its endpoint.
    const fn variable(self) -> &'static str {
        match self {
            Self::S3 => "AWS_ENDPOINT_URL_S3",
            Self::Ec2 => "AWS_ENDPOINT_URL_EC2",
            Self::Ssm => "AWS_ENDPOINT_URL_SSM",
            Self::AutoScaling => "AWS_ENDPOINT_URL_AUTO_SCALING",
            Self::DynamoDb => "AWS_ENDPOINT_URL_DYNAMODB",
            Self::Elb => "AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2",
        }
    }
}

/// Where the services are, where that is not AWS's own place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// For all services that are not named: `http://HOST:PORT`, without a slash at the end.
    pub any: Option<String>,
    /// For one service.
    pub of: BTreeMap<Service, String>,
    /// The endpoints that answer over IPv6 too.
    pub dual_stack: bool,
}

impl Endpoints {
    /// As `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3` (…) and `AWS_USE_DUALSTACK_ENDPOINT` say.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(value: impl Fn(&str) -> Option<String>) -> Self {
        let url = |name: &str| {
            let text = value(name).filter(|text| !text.is_empty())?;
            Some(text.trim_end_matches('/').to_owned())
        };
        let named = |service: Service| url(service.variable()).map(|url| (service, url));
        Self {
            any: url("AWS_ENDPOINT_URL"),
            of: Service::ALL.into_iter().filter_map(named).collect(),
            dual_stack: value("AWS_USE_DUALSTACK_ENDPOINT").as_deref() == Some("true"),
        }
    }

    /// Whether somebody else's place is configured for `service`.
    #[must_use]
    pub fn is_custom(&self, service: Service) -> bool {
        self.any.is_some() || self.of.contains_key(&service)
    }

    /// The base address of `service` in `region`, without a slash at the end.
    #[must_use]
    pub fn url(&self, service: Service, region: &str) -> String {
        if let Some(custom) = self.of.get(&service).or(self.any.as_ref()) {
            return custom.clone();
        }
        format!("https://{}", self.host(service, region))
    }

    /// AWS's host name of `service` in `region`.
    fn host(&self, service: Service, region: &str) -> String {
        let name = service.name();
        let suffix = suffix(region);
        match (self.dual_stack, service) {
            (true, Service::S3) => format!("s3.dualstack.{region}.{suffix}"),
            (true, _) if suffix == "amazonaws.com" => format!("{name}.{region}.api.aws"),
            _ => format!("{name}.{region}.{suffix}"),
        }
    }

    /// The address of an object: with the bucket in the host's name as AWS wants it, or in the path
    /// where no such host or certificate can be expected.
    #[must_use]
    pub fn object_url(&self, bucket: &str, key: &str, region: &str) -> String {
        let key = crate::text::percent_encoded(key, "/");
        if self.is_custom(Service::S3) || bucket.contains('.') {
            return format!("{}/{bucket}/{key}", self.url(Service::S3, region));
        }
        format!("https://{bucket}.{}/{key}", self.host(Service::S3, region))
    }
}

/// The domain of a region's partition.
fn suffix(region: &str) -> &'static str {
    const PARTITIONS: [(&str, &str); 4] = [
        ("cn-", "amazonaws.com.cn"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("us-iso-", "c2s.ic.gov"),
        ("eusc-", "amazonaws.eu"),
    ];
    let found = PARTITIONS.iter().find(|(prefix, _)| region.starts_with(prefix));
    found.map_or("amazonaws.com", |(_, suffix)| suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_where_aws_has_them() {
        let aws = Endpoints::default();
        let url = |service, region| aws.url(service, region);
        assert_eq!(url(Service::Ec2, "eu-central-1"), "https://ec2.eu-central-1.amazonaws.com");
        assert_eq!(url(Service::Ssm, "cn-north-1"), "https://ssm.cn-north-1.amazonaws.com.cn");
        let both = Endpoints { dual_stack: true, ..Endpoints::default() };
        assert_eq!(
            both.url(Service::AutoScaling, "us-east-1"),
            "https://autoscaling.us-east-1.api.aws"
        );
        assert_eq!(
            both.object_url("b", "k", "us-east-1"),
            "https://b.s3.dualstack.us-east-1.amazonaws.com/k"
        );
    }

    #[test]
    fn a_bucket_is_in_the_host_unless_that_cannot_be() {
        let aws = Endpoints::default();
        assert_eq!(
            aws.object_url("rel", "a b/c", "eu-west-1"),
            "https://rel.s3.eu-west-1.amazonaws.com/a%20b/c"
        );
        assert_eq!(
            aws.object_url("rel.example.org", "x", "eu-west-1"),
            "https://s3.eu-west-1.amazonaws.com/rel.example.org/x"
        );
        let own = Endpoints { any: Some("http://127.0.0.1:5000".into()), ..Endpoints::default() };
        assert_eq!(own.object_url("rel", "x", "eu-west-1"), "http://127.0.0.1:5000/rel/x");
    }

    #[test]
    fn variables_name_one_place_or_many() {
        let of = |name: &str| match name {
            "AWS_ENDPOINT_URL" => Some("http://a/".to_owned()),
            "AWS_ENDPOINT_URL_S3" => Some("http://b".to_owned()),
            _ => None,
        };
        let endpoints = Endpoints::from_variables(of);
        assert_eq!(endpoints.url(Service::S3, "r"), "http://b");
        assert_eq!(endpoints.url(Service::Ssm, "r"), "http://a");
        assert!(!endpoints.dual_stack);
    }
}
