//! What is different between two images, for those who keep partitions, logs and configurations in step.

use std::sync::Arc;

use super::image::{CatalogImage, ResourceType};
use super::topic::TopicImage;

/// One difference. A topic that was deleted and made again under its name is both.
#[derive(Clone, PartialEq, Debug)]
pub enum CatalogChange {
    TopicDeleted(Arc<TopicImage>),
    TopicCreated(Arc<TopicImage>),
    /// A topic has more partitions; those before `first` are not new.
    PartitionsAdded {
        topic: Arc<TopicImage>,
        first: i32,
    },
    /// Leaders, epochs or replicas of a topic's partitions.
    PartitionsChanged(Arc<TopicImage>),
    ConfigChanged {
        resource_type: ResourceType,
        name: Arc<str>,
    },
    FeaturesChanged,
}

/// The differences, those of topics first, deleted ones before created ones. Takes time by what is different, not by
/// what there is: the maps share what is the same.
pub(super) fn changes_between(before: &CatalogImage, after: &CatalogImage) -> Vec<CatalogChange> {
    use imbl::ordmap::DiffItem;
    let (mut deleted, mut changed) = (Vec::new(), Vec::new());
    for item in before.topics.diff(&after.topics) {
        match item {
            DiffItem::Add(_, topic) => changed.push(CatalogChange::TopicCreated(Arc::clone(topic))),
            DiffItem::Remove(_, topic) => deleted.push(CatalogChange::TopicDeleted(Arc::clone(topic))),
            DiffItem::Update { old: (_, old), new: (_, new) } if old.id != new.id => {
                deleted.push(CatalogChange::TopicDeleted(Arc::clone(old)));
                changed.push(CatalogChange::TopicCreated(Arc::clone(new)));
            }
            DiffItem::Update { old: (_, old), new: (_, new) } => {
                let first = old.partition_count();
                if new.partition_count() > first {
                    changed.push(CatalogChange::PartitionsAdded { topic: Arc::clone(new), first });
                }
                if new.partitions.iter().zip(&old.partitions).any(|(new, old)| new != old) {
                    changed.push(CatalogChange::PartitionsChanged(Arc::clone(new)));
                }
            }
        }
    }
    let config =
        |resource_type, name: &Arc<str>| CatalogChange::ConfigChanged { resource_type, name: Arc::clone(name) };
    for item in before.topic_configs.diff(&after.topic_configs) {
        let (DiffItem::Add(name, _) | DiffItem::Remove(name, _) | DiffItem::Update { new: (name, _), .. }) = item;
        // Of topics that were made or deleted the configuration is no news.
        let id = |image: &CatalogImage| image.topics.get(name).map(|topic| topic.id);
        if id(before).is_some() && id(before) == id(after) {
            changed.push(config(ResourceType::TOPIC, name));
        }
    }
    for item in before.configs.diff(&after.configs) {
        let (DiffItem::Add(key, _) | DiffItem::Remove(key, _) | DiffItem::Update { new: (key, _), .. }) = item;
        changed.push(config(key.0, &key.1));
    }
    if before.features != after.features {
        changed.push(CatalogChange::FeaturesChanged);
    }
    deleted.append(&mut changed);
    deleted
}
