//! TLS, SASL, authorization and delegation tokens.

use super::kind::{BOOLEAN, CLASS, DOUBLE, INT, LIST, LONG, PASSWORD, SHORT, TEXT, one_of};
use super::reasons::{JAVA_CLASS, NO_SECURITY};
use super::{Effect, Key, keys};

keys! {SECURITY:
    /// The class that decides who may do what.
    "authorizer.class.name" = "", TEXT, Low, ReadOnly,
        Effect::Refused("access control is not there yet, and every client could do everything");
    /// A Java class that makes a principal out of a connection.

           "principal.builder.class" = "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder", CLASS, Medium, PerBroker,
        Effect::Ignored(NO_SECURITY);
    /// Java security providers.
    "security.providers" = null, TEXT, Low, ReadOnly, Effect::Ignored(JAVA_CLASS);
    /// The secret that delegation tokens are made with.
    "delegation.token.secret.key" = null, PASSWORD, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// How often expired delegation tokens are removed.
    "delegation.token.expiry.check.interval.ms" = "3600000", LONG.at_least(1), Low, ReadOnly,
        Effect::Ignored(NO_SECURITY);
    /// How long a delegation token is valid before it has to be renewed.
    "delegation.token.expiry.time.ms" = "86400000", LONG.at_least(1), Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// How long a delegation token can be renewed.
    "delegation.token.max.lifetime.ms" = "604800000", LONG.at_least(1), Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The SASL mechanisms clients may use.
    "sasl.enabled.mechanisms" = "GSSAPI", LIST, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The SASL mechanism between brokers.
    "sasl.mechanism.inter.broker.protocol" = "GSSAPI", TEXT, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The SASL mechanism towards controllers.
    "sasl.mechanism.controller.protocol" = "GSSAPI", TEXT, High, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// JAAS login section of a listener.
    "sasl.jaas.config" = null, PASSWORD, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// A Java class that answers SASL's questions on the server.
    "sasl.server.callback.handler.class" = null, CLASS, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// A Java class that answers SASL's questions on the client.
    "sasl.client.callback.handler.class" = null, CLASS, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// A Java class that answers SASL's questions at login.
    "sasl.login.callback.handler.class" = null, CLASS, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// A Java class that logs in.
    "sasl.login.class" = null, CLASS, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// Largest request before a connection is authenticated.
    "sasl.server.max.receive.size" = "524288", INT, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// Connection timeout towards an identity provider.
    "sasl.login.connect.timeout.ms" = null, INT, Low, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// Read timeout towards an identity provider.
    "sasl.login.read.timeout.ms" = null, INT, Low, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// How long before its end a credential is refreshed.
    "sasl.login.refresh.buffer.seconds" = "300", SHORT, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The shortest time between two refreshes of a credential.
    "sasl.login.refresh.min.period.seconds" = "60", SHORT, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The share of a credential's life after which it is refreshed.
    "sasl.login.refresh.window.factor" = "0.8", DOUBLE, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// Random part of that time.
    "sasl.login.refresh.window.jitter" = "0.05", DOUBLE, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The pause before a failed login is tried again.
    "sasl.login.retry.backoff.ms" = "100", LONG, Low, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The longest such pause.
    "sasl.login.retry.backoff.max.ms" = "10000", LONG, Low, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The path of kinit.
    "sasl.kerberos.kinit.cmd" = "/usr/bin/kinit", TEXT, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The shortest time between two Kerberos logins.
    "sasl.kerberos.min.time.before.relogin" = "60000", LONG, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// Rules that make short names out of Kerberos principals.
    "sasl.kerberos.principal.to.local.rules" = "DEFAULT", LIST, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The Kerberos name the broker runs as.
    "sasl.kerberos.service.name" = null, TEXT, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// Random part of the time a ticket is renewed after.
    "sasl.kerberos.ticket.renew.jitter" = "0.05", DOUBLE, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The share of a ticket's life after which it is renewed.
    "sasl.kerberos.ticket.renew.window.factor" = "0.8", DOUBLE, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The algorithm assertions are signed with.
    "sasl.oauthbearer.assertion.algorithm" = "RS256", TEXT, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The audience claim of an assertion.
    "sasl.oauthbearer.assertion.claim.aud" = null, TEXT, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// For how many seconds an assertion is valid.
    "sasl.oauthbearer.assertion.claim.exp.seconds" = "300", INT.between(0, 86400), Low, ReadOnly,
        Effect::Ignored(NO_SECURITY);
    /// The issuer claim of an assertion.
    "sasl.oauthbearer.assertion.claim.iss" = null, TEXT, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// Give each assertion an id.
    "sasl.oauthbearer.assertion.claim.jti.include" = "false", BOOLEAN, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// From how many seconds ago an assertion is valid.
    "sasl.oauthbearer.assertion.claim.nbf.seconds" = "60", INT.between(0, 3600), Low, ReadOnly,
        Effect::Ignored(NO_SECURITY);
    /// The subject claim of an assertion.
    "sasl.oauthbearer.assertion.claim.sub" = null, TEXT, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// A file with a ready assertion.
    "sasl.oauthbearer.assertion.file" = null, TEXT, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The PEM file of the key that signs assertions.
    "sasl.oauthbearer.assertion.private.key.file" = null, TEXT, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The passphrase of that key.
    "sasl.oauthbearer.assertion.private.key.passphrase" = null, PASSWORD, Medium, ReadOnly,
        Effect::Ignored(NO_SECURITY);
    /// A file with headers and claims of assertions.
    "sasl.oauthbearer.assertion.template.file" = null, TEXT, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The client id for OAuth's client credentials.
    "sasl.oauthbearer.client.credentials.client.id" = null, TEXT, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The client secret for OAuth's client credentials.
    "sasl.oauthbearer.client.credentials.client.secret" = null, PASSWORD, Medium, ReadOnly,
        Effect::Ignored(NO_SECURITY);
    /// How far the clock of the identity provider may differ.
    "sasl.oauthbearer.clock.skew.seconds" = "30", INT, Low, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The audiences a token may be for.
    "sasl.oauthbearer.expected.audience" = "", LIST, High, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The issuer a token has to come from.
    "sasl.oauthbearer.expected.issuer" = null, TEXT, High, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// How often the provider's keys are fetched.
    "sasl.oauthbearer.jwks.endpoint.refresh.ms" = "3600000", LONG, Low, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The pause before fetching them is tried again.
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms" = "100", LONG, Low, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The longest such pause.
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms" = "10000", LONG, Low, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// Where the provider's keys are.
    "sasl.oauthbearer.jwks.endpoint.url" = null, TEXT, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// A Java class that fetches tokens.

           "sasl.oauthbearer.jwt.retriever.class" = "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever", CLASS, Medium, ReadOnly,
        Effect::Ignored(NO_SECURITY);
    /// A Java class that checks tokens.

           "sasl.oauthbearer.jwt.validator.class" = "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator", CLASS, Medium, ReadOnly,
        Effect::Ignored(NO_SECURITY);
    /// The scope that is asked for.
    "sasl.oauthbearer.scope" = null, TEXT, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The claim that holds the scope.
    "sasl.oauthbearer.scope.claim.name" = "scope", TEXT, Low, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The claim that holds the subject.
    "sasl.oauthbearer.sub.claim.name" = "sub", TEXT, Low, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// Where tokens are fetched.
    "sasl.oauthbearer.token.endpoint.url" = null, TEXT, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// Let a new certificate have another distinguished name.
    "ssl.allow.dn.changes" = "false", BOOLEAN, Low, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// Let a new certificate have other alternative names.
    "ssl.allow.san.changes" = "false", BOOLEAN, Low, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The cipher suites that are offered.
    "ssl.cipher.suites" = "", LIST, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// Whether clients show a certificate: required, requested or none.
    "ssl.client.auth" = "none", one_of(&["required", "requested", "none"]), Medium, PerBroker,
        Effect::Ignored(NO_SECURITY);
    /// The TLS versions that are offered.
    "ssl.enabled.protocols" = "TLSv1.2,TLSv1.3", LIST, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// How a server's name is checked against its certificate.
    "ssl.endpoint.identification.algorithm" = "https", TEXT, Low, PerBroker, Effect::Ignored(NO_SECURITY);
    /// A Java class that makes TLS engines.
    "ssl.engine.factory.class" = null, CLASS, Low, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The password of the private key.
    "ssl.key.password" = null, PASSWORD, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// Java's algorithm for key managers.
    "ssl.keymanager.algorithm" = "SunX509", TEXT, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The certificate chain as PEM.
    "ssl.keystore.certificate.chain" = null, PASSWORD, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The private key as PEM.
    "ssl.keystore.key" = null, PASSWORD, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The file of the key store.
    "ssl.keystore.location" = null, TEXT, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The password of the key store.
    "ssl.keystore.password" = null, PASSWORD, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The format of the key store.
    "ssl.keystore.type" = "JKS", TEXT, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// Rules that make short names out of certificates' names.
    "ssl.principal.mapping.rules" = "DEFAULT", TEXT, Low, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// The TLS version used by default.
    "ssl.protocol" = "TLSv1.3", TEXT, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// Java's security provider for TLS.
    "ssl.provider" = null, TEXT, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// Java's random number generator for TLS.
    "ssl.secure.random.implementation" = null, TEXT, Low, PerBroker, Effect::Ignored(NO_SECURITY);
    /// Java's algorithm for trust managers.
    "ssl.trustmanager.algorithm" = "PKIX", TEXT, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The trusted certificates as PEM.
    "ssl.truststore.certificates" = null, PASSWORD, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The file of the trust store.
    "ssl.truststore.location" = null, TEXT, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The password of the trust store.
    "ssl.truststore.password" = null, PASSWORD, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
    /// The format of the trust store.
    "ssl.truststore.type" = "JKS", TEXT, Medium, PerBroker, Effect::Ignored(NO_SECURITY);
}
