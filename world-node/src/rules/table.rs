//! How the tables of kinds are written: one row per kind, with its name in documents and its data, in one place.

macro_rules! table {
    ($(#[$doc:meta])* $kind:ident: $spec:ty {
        $($(#[$row_doc:meta])* $row:ident = $name:literal => $data:expr;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $kind { $($(#[$row_doc])* #[serde(rename = $name)] $row,)* }

        impl $kind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [$kind] = &[$($kind::$row,)*];

            /// The name, as in documents, actions and metrics.
            pub const fn name(self) -> &'static str {
                match self { $($kind::$row => $name,)* }
            }

            /// The row of the table.
            pub const fn spec(self) -> &'static $spec {
                match self { $($kind::$row => const { &$data },)* }
            }
        }
    };
}

pub(super) use table;
