//! The kinds of the fake cloud, one for each thing that is hard in a real one.

use std::sync::Arc;
use std::time::Duration;

use epid_provider::schema::Mutex;
use epid_provider::{Durations, Field, Kind, KindSchema, Object, Output, Type};

/// How a kind behaves beyond its schema.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Its schema.
    pub schema: Arc<KindSchema>,
    /// A create without `name` makes one up, and one with it collides with a live thing of that name.
    pub named: bool,
    /// The service knows no client token: the same create twice makes two, and only a search by tag finds them.
    pub tokenless: bool,
    /// A create is shown to readers only after this long.
    pub lag: Duration,
    /// The steps of a create, after the first; each is a request of its own, with a durable note before it.
    pub stages: &'static [&'static str],
    /// How long a create and an update take on the call's clock.
    pub takes: Duration,
    /// How long a delete takes.
    pub delete_takes: Duration,
}

const SECOND: Duration = Duration::from_secs(1);

fn kind(name: &str) -> Kind {
    Kind::parse(&format!("fake:thing:{name}")).unwrap_or_else(|error| unreachable!("{error}"))
}

fn text(name: &str) -> Field {
    Field::new(name, Type::String)
}

/// Things that must exist when it is made or changed, and cannot go while it lives.
fn uses() -> Field {
    Field::new("uses", Type::set(Type::String)).doc("Ids of things that it needs.")
}

fn behaviour(name: &str, doc: &str, fields: Vec<Field>) -> Behaviour {
    let mut schema = KindSchema::new(kind(name), doc, Object::of(fields));
    schema.outputs = vec![
        Output::new("id", "Its id."),
        Output::new("endpoint", "Where it is reached; an update keeps it."),
        Output::new(
            "version",
            "Counts its changes: an update that only finishes it is none.",
        )
        .changes_with(&["*"]),
    ];
    Behaviour {
        schema: Arc::new(schema),
        named: false,
        tokenless: false,
        lag: Duration::ZERO,
        stages: &[],
        takes: Duration::ZERO,
        delete_takes: Duration::ZERO,
    }
}

fn with(mut b: Behaviour, change: impl FnOnce(&mut KindSchema)) -> Behaviour {
    change(Arc::make_mut(&mut b.schema));
    b
}

fn slow(b: Behaviour, seconds: u64) -> Behaviour {
    let takes = SECOND * u32::try_from(seconds).unwrap_or(u32::MAX);
    let b = with(b, |schema| {
        schema.expected = Durations {
            create: takes,
            update: takes,
            delete: takes,
        };
        schema.timeouts = Durations {
            create: takes * 3,
            update: takes * 3,
            delete: takes * 3,
        };
    });
    Behaviour {
        takes,
        delete_takes: takes,
        ..b
    }
}

/// All kinds. The first is the plain one.
#[must_use]
pub fn all() -> Vec<Behaviour> {
    let item = behaviour(
        "Item",
        "A thing with a name of its own.",
        vec![
            text("name")
                .immutable()
                .exclusive()
                .doc("Its name; made up where it is not given."),
            text("value").doc("What it holds."),
            text("shape").immutable().doc("What it is like; cannot change."),
            text("password").secret().write_only().doc("A secret."),
            Field::new("tags", Type::set(Type::String)),
            Field::new("size", Type::Int).default(1_i64),
            uses(),
        ],
    );
    let group = with(
        behaviour(
            "Group",
            "Cannot go while something names it.",
            vec![
                text("name").immutable().exclusive(),
                text("value"),
                text("shape").immutable(),
                uses(),
            ],
        ),
        |schema| schema.held = true,
    );
    let cluster = behaviour(
        "Cluster",
        "Takes ten minutes.",
        vec![
            text("name").required().immutable().exclusive(),
            text("version").default("1"),
            uses(),
        ],
    );
    let profile = behaviour(
        "Profile",
        "A part of a cluster; the cluster works on one at a time.",
        vec![
            text("cluster").required().immutable(),
            text("name").required().immutable().exclusive(),
            uses(),
        ],
    );
    let boxes = behaviour(
        "Box",
        "Holds children, which go when it goes.",
        vec![
            text("name").required().immutable().exclusive(),
            text("value"),
            uses(),
        ],
    );
    let child = behaviour(
        "Child",
        "Lives in a box.",
        vec![
            text("box").required().immutable().doc("The name of its box."),
            text("name").required().immutable(),
            text("value"),
            Field::new("outside", Type::Bool)
                .doc("It makes something outside its box, which only its own delete removes."),
            text("controller").doc("The name of an item without which it cannot be deleted."),
            uses(),
        ],
    );
    let mut lookup = behaviour(
        "Lookup",
        "Finds a fact of the world.",
        vec![text("fact").required()],
    );
    lookup = with(lookup, |schema| {
        schema.lookup = true;
        schema.outputs = vec![Output::new("found", "The fact.").changes_with(&["*"])];
    });
    let tagged = behaviour(
        "Tagged",
        "Made without a token or a name.",
        vec![text("value"), text("shape").immutable(), uses()],
    );
    let stepwise = behaviour(
        "Stepwise",
        "Made in three requests.",
        vec![text("value"), text("shape").immutable(), uses()],
    );
    let defaulted = behaviour(
        "Defaulted",
        "The service chooses what is not given.",
        vec![text("value"), text("class"), text("shape").immutable(), uses()],
    );
    let network = behaviour(
        "Network",
        "Has subnets, and cannot go before them.",
        vec![text("range").required().immutable(), uses()],
    );
    let subnet = behaviour(
        "Subnet",
        "A part of a network.",
        vec![
            text("network").required().immutable(),
            text("range").required().immutable().exclusive(),
            text("value"),
            uses(),
        ],
    );
    let mutex = Mutex {
        class: Arc::from("fake-cluster"),
        property: Arc::from("cluster"),
    };
    vec![
        Behaviour { named: true, ..item },
        Behaviour { named: true, ..group },
        Behaviour {
            named: true,
            stages: &["become active"],
            ..slow(cluster, 600)
        },
        Behaviour {
            named: true,
            ..slow(with(profile, |s| s.mutex = Some(mutex)), 60)
        },
        Behaviour { named: true, ..boxes },
        child,
        lookup,
        Behaviour {
            tokenless: true,
            lag: SECOND * 5,
            ..tagged
        },
        Behaviour {
            stages: &["attach", "finish"],
            ..slow(stepwise, 3)
        },
        defaulted,
        network,
        subnet,
    ]
}

/// How long absence of a token-less thing means nothing, from the first look for it.
pub const QUIET: Duration = Duration::from_secs(20);
