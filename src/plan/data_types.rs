//! Which types of resources hold data that is lost with them.

use globset::{Glob, GlobSet};

/// The types of AWS, Azure, Google and Kubernetes that hold data, as the providers name them.
const BUILT_IN: &[&str] = &[
    "aws_backup_vault",
    "aws_cloudwatch_log_group",
    "aws_cognito_user_pool",
    "aws_db_instance",
    "aws_db_snapshot",
    "aws_docdb_cluster",
    "aws_docdb_global_cluster",
    "aws_dynamodb_global_table",
    "aws_dynamodb_table",
    "aws_ebs_snapshot",
    "aws_ebs_volume",
    "aws_ecr_repository",
    "aws_efs_file_system",
    "aws_elasticache_cluster",
    "aws_elasticache_replication_group",
    "aws_elasticache_serverless_cache",
    "aws_elasticsearch_domain",
    "aws_fsx_*_file_system",
    "aws_fsx_*_volume",
    "aws_glacier_vault",
    "aws_keyspaces_table",
    "aws_kinesis_stream",
    "aws_kms_key",
    "aws_lightsail_database",
    "aws_memorydb_cluster",
    "aws_mq_broker",
    "aws_msk_cluster",
    "aws_neptune_cluster",
    "aws_opensearch_domain",
    "aws_rds_cluster",
    "aws_rds_global_cluster",
    "aws_redshift_cluster",
    "aws_redshiftserverless_namespace",
    "aws_s3_bucket",
    "aws_s3_directory_bucket",
    "aws_secretsmanager_secret",
    "aws_sqs_queue",
    "aws_timestreamwrite_table",
    "azurerm_container_registry",
    "azurerm_cosmosdb_*",
    "azurerm_data_lake_store",
    "azurerm_eventhub",
    "azurerm_key_vault",
    "azurerm_key_vault_key",
    "azurerm_key_vault_secret",
    "azurerm_kusto_database",
    "azurerm_log_analytics_workspace",
    "azurerm_managed_disk",
    "azurerm_mariadb_server",
    "azurerm_mssql_database",
    "azurerm_mssql_managed_database",
    "azurerm_mssql_managed_instance",
    "azurerm_mssql_server",
    "azurerm_mysql_flexible_database",
    "azurerm_mysql_flexible_server",
    "azurerm_netapp_volume",
    "azurerm_postgresql_flexible_server",
    "azurerm_postgresql_flexible_server_database",
    "azurerm_postgresql_server",
    "azurerm_recovery_services_vault",
    "azurerm_redis_cache",
    "azurerm_servicebus_queue",
    "azurerm_servicebus_topic",
    "azurerm_snapshot",
    "azurerm_storage_account",
    "azurerm_storage_container",
    "azurerm_storage_queue",
    "azurerm_storage_share",
    "azurerm_storage_table",
    "azurerm_synapse_sql_pool",
    "google_alloydb_cluster",
    "google_alloydb_instance",
    "google_artifact_registry_repository",
    "google_bigquery_dataset",
    "google_bigquery_table",
    "google_bigtable_instance",
    "google_bigtable_table",
    "google_compute_disk",
    "google_compute_region_disk",
    "google_compute_snapshot",
    "google_filestore_instance",
    "google_firestore_database",
    "google_kms_crypto_key",
    "google_kms_key_ring",
    "google_memcache_instance",
    "google_pubsub_subscription",
    "google_pubsub_topic",
    "google_redis_cluster",
    "google_redis_instance",
    "google_secret_manager_secret",
    "google_spanner_database",
    "google_spanner_instance",
    "google_sql_database",
    "google_sql_database_instance",
    "google_storage_bucket",
    "kubernetes_persistent_volume",
    "kubernetes_persistent_volume_claim",
    "kubernetes_persistent_volume_claim_v1",
    "kubernetes_persistent_volume_v1",
];

/// Which types of resources hold data: a list that is built in, and what the settings say of it.
#[derive(Debug, Clone)]
pub struct DataTypes {
    given: Vec<String>,
    /// What each pattern says, in their order.
    says: Vec<Holds>,
    /// The patterns, likewise.
    patterns: GlobSet,
}

/// Whether a type holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Data,
    Nothing,
}

/// A pattern of types cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no pattern of a type: {reason}")]
pub struct InvalidDataType {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

impl DataTypes {
    /// Takes patterns besides those that are built in: `*` stands for any text, and a `!` before a
    /// pattern takes out what it matches. The last pattern that matches decides, so `!*` first
    /// leaves nothing of the built-in list.
    ///
    /// # Errors
    ///
    /// [`InvalidDataType`] for the first pattern that cannot be read.
    pub fn new<T: AsRef<str>>(given: &[T]) -> Result<Self, InvalidDataType> {
        let given: Vec<String> = given.iter().map(|p| p.as_ref().to_owned()).collect();
        let patterns = BUILT_IN
            .iter()
            .copied()
            .chain(given.iter().map(String::as_str));
        let rules = patterns.map(rule).collect::<Result<Vec<_>, _>>()?;
        let (says, globs): (Vec<Holds>, Vec<Glob>) = rules.into_iter().unzip();
        let patterns = GlobSet::new(globs).map_err(|error| InvalidDataType {
            pattern: given.join(", "),
            reason: error.to_string(),
        })?;
        Ok(Self {
            given,
            says,
            patterns,
        })
    }

    /// Whether a resource of this type holds data.
    pub fn hold(&self, kind: &str) -> bool {
        let last = self.patterns.matches(kind).into_iter().max();
        last.is_some_and(|last| self.says[last] == Holds::Data)
    }
}

fn rule(pattern: &str) -> Result<(Holds, Glob), InvalidDataType> {
    let (holds, glob) = match pattern.strip_prefix('!') {
        Some(glob) => (Holds::Nothing, glob),
        None => (Holds::Data, pattern),
    };
    let wrong = |reason: String| InvalidDataType {
        pattern: pattern.to_owned(),
        reason,
    };
    if glob.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    match Glob::new(glob) {
        Ok(glob) => Ok((holds, glob)),
        Err(error) => Err(wrong(error.kind().to_string())),
    }
}

impl Default for DataTypes {
    fn default() -> Self {
        Self::new::<&str>(&[]).expect("the built-in patterns can be read")
    }
}

impl PartialEq for DataTypes {
    fn eq(&self, other: &Self) -> bool {
        self.given == other.given
    }
}

impl Eq for DataTypes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_list_knows_the_data_of_the_great_clouds() {
        let types = DataTypes::default();
        for kind in [
            "aws_db_instance",
            "aws_fsx_lustre_file_system",
            "azurerm_cosmosdb_account",
            "google_sql_database_instance",
        ] {
            assert!(types.hold(kind), "{kind}");
        }
        for kind in ["aws_route", "aws_db_subnet_group", "terraform_data", ""] {
            assert!(!types.hold(kind), "{kind}");
        }
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let types = DataTypes::new(&["acme_*", "!acme_cache", "!aws_sqs_queue"]).unwrap();
        assert!(types.hold("acme_store") && types.hold("aws_s3_bucket"));
        assert!(!types.hold("acme_cache") && !types.hold("aws_sqs_queue"));
        let own = DataTypes::new(&["!*", "acme_store"]).unwrap();
        assert!(own.hold("acme_store") && !own.hold("aws_s3_bucket"));
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_named() {
        for pattern in ["", "!", "aws_[db"] {
            let error = DataTypes::new(&[pattern]).unwrap_err();
            assert!(error.to_string().contains(&format!("`{pattern}`")));
        }
    }
}
