//! Changing what is configured: for topics, and of brokers what acts while they run.

use std::rc::Rc;

use crate::catalog::commands::{self, ConfigChange, ConfigOp, ConfigRequest, ConfigTarget};
use crate::catalog::{CommandError, ResourceType};
use crate::error_code::ErrorCode;
use crate::shard::Shard;

use super::{CommandOutcome, Controller};

/// One resource of an AlterConfigs or IncrementalAlterConfigs request.
#[derive(Clone, Debug)]
pub struct ResourceToAlter {
    pub resource_type: ResourceType,
    /// Of a broker: `node.id`, or empty for all brokers.
    pub name: String,
    pub alteration: Alteration,
}

/// What becomes of a resource's keys.
#[derive(Clone, Debug)]
pub enum Alteration {
    /// Changes of single keys.
    Change(Vec<(String, ConfigOp, Option<String>)>),
    /// The only values from now on.
    Replace(Vec<(String, Option<String>)>),
}

impl Alteration {
    fn request(&self) -> ConfigRequest<'_> {
        match self {
            Alteration::Change(changes) => ConfigRequest::Change(
                changes.iter().map(|(key, op, value)| ConfigChange { key, op: *op, value: value.as_deref() }).collect(),
            ),
            Alteration::Replace(values) => {
                ConfigRequest::Replace(values.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect())
            }
        }
    }
}

impl Controller {
    /// Each resource for itself, all or nothing of it; what can be done is one step of the catalog. When this
    /// returns it is durable, and every shard goes by it.
    pub(super) async fn alter_configs(
        &self,
        shard: &Rc<Shard>,
        resources: &[ResourceToAlter],
        validate_only: bool,
    ) -> CommandOutcome {
        let view = shard.view();
        let mut places: Vec<usize> = (0..resources.len()).collect();
        let id = |at: usize| resources.get(at).map(|resource| (resource.resource_type, resource.name.as_str()));
        places.sort_by_key(|at| id(*at));
        let mut twice = vec![false; resources.len()];
        for pair in places.windows(2) {
            if let [one, other] = *pair
                && id(one) == id(other)
            {
                for at in [one, other] {
                    if let Some(twice) = twice.get_mut(at) {
                        *twice = true;
                    }
                }
            }
        }
        let mut records = Vec::new();
        let mut rows = Vec::with_capacity(resources.len());
        for (resource, twice) in resources.iter().zip(twice) {
            if twice {
                let message = "Each resource must appear at most once.";
                rows.push(Err(CommandError::new(ErrorCode::InvalidRequest, message)));
                continue;
            }
            let target = ConfigTarget { resource_type: resource.resource_type, name: &resource.name };
            let made = commands::alter_configs(
                self.catalog.borrow().image(),
                view.config().settings(),
                target,
                &resource.alteration.request(),
            );
            rows.push(made.map(|made| records.extend(made)));
        }
        if !validate_only
            && !records.is_empty()
            && let Err(error) = self.commit(shard, records).await
        {
            for row in rows.iter_mut().filter(|row| row.is_ok()) {
                *row = Err(error.clone());
            }
        }
        CommandOutcome::ConfigsAltered(rows)
    }
}
