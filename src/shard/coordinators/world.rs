//! The rest of the broker as groups see it.

use crate::catalog::ResourceType;
use crate::coordinator::GroupWorld;
use crate::shard::cluster_view::ClusterView;
use crate::types::TopicId;

pub(super) struct World<'a>(pub &'a ClusterView);

impl GroupWorld for World<'_> {
    fn topic(&self, name: &str) -> Option<(TopicId, i32)> {
        self.0.topic(name).map(|topic| (topic.id, topic.partition_count()))
    }

    fn topic_by_id(&self, id: TopicId) -> Option<(&str, i32)> {
        self.0.topic_by_id(id).map(|topic| (&*topic.name, topic.partition_count()))
    }

    fn topic_names(&self) -> Vec<&str> {
        self.0.image.topics().map(|topic| &*topic.name).collect()
    }

    fn group_config(&self, group_id: &str, key: &str) -> Option<String> {
        self.0.image.config(ResourceType::GROUP, group_id)?.get(key).map(ToString::to_string)
    }
}
