//! The one integration-test binary; each module opens with what it shows.

mod protocol_oracle;
