"""The configuration: what is read, what is refused, and how it is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsync.model.duration import Duration
from gitsync.model.errors import Invalid
from gitsync.settings import Settings, address_and_port, describe, load_settings, read_secret, secret_files, warnings
from gitsync.settings.later import LATER

MINIMAL = """\
instance: prod-eu
syncs:
  payments:
    git: { url: https://git.example/platform/specs.git }
"""


@pytest.fixture
def load(tmp_path: Path):
    def from_text(text: str = MINIMAL, environ: dict[str, str] | None = None) -> Settings:
        file = tmp_path / "gitsync.yaml"
        file.write_text(text)
        return load_settings(file, environ or {})

    return from_text


@pytest.fixture
def refusal(load):
    def of(text: str = MINIMAL, environ: dict[str, str] | None = None) -> str:
        with pytest.raises(Invalid) as refused:
            load(text, environ)
        return str(refused.value)

    return of


# -- what is read ---------------------------------------------------------------------------------------------------------


def test_two_keys_are_enough_and_the_rest_has_the_documented_defaults(load):
    settings = load()
    sync = settings.syncs["payments"]

    assert settings.instance == "prod-eu"
    assert settings.store == "sqlite:////var/lib/gitsync/gitsync.db"
    assert settings.consul.address == "http://127.0.0.1:8500"
    assert (settings.consul.lock_ttl, settings.consul.timeout, settings.consul.concurrency) == (
        seconds(15),
        seconds(10),
        32,
    )
    assert settings.retention.runs == Duration.parse("2160h")
    assert (sync.interval, sync.git.timeout) == (seconds(60), seconds(60))
    assert (sync.prune.max_count, sync.prune.max_fraction) == (10, 0.2)
    assert (sync.drift, sync.git.history, sync.git.ref, sync.git.path) == ("enforce", "stop", "main", "")
    assert (sync.adopt, sync.strict, sync.redact) == (False, False, ())


def seconds(count: int) -> Duration:
    return Duration(count * 1_000_000_000)


def test_words_that_old_yaml_takes_for_booleans_and_numbers_stay_words(load):
    settings = load(
        MINIMAL.replace("prod-eu", "0123")
        + "    drift: off\n    signatures: { mode: off }\n    redact: [on, 'no', 1.10]\n"
    )

    assert settings.instance == "0123"
    assert settings.syncs["payments"].drift == "off"
    assert settings.syncs["payments"].redact == ("on", "no", "1.10")


def test_a_key_without_a_value_is_as_if_it_were_not_there(load):
    settings = load(MINIMAL + "    interval:\n    drift: ~\ngateway: null\n")

    assert settings.gateway is None
    assert settings.syncs["payments"].interval == seconds(60)


def test_syncs_can_share_what_they_have_in_common_by_an_anchor(load):
    settings = load(
        "instance: a\nsyncs:\n"
        "  one: &one\n    interval: 7s\n    strict: true\n    git: { url: ssh://git@h/a }\n"
        "  two:\n    <<: *one\n    strict: false\n    git: { url: ssh://git@h/b }\n"
    )

    assert settings.syncs["two"].interval == seconds(7)
    assert (settings.syncs["one"].strict, settings.syncs["two"].strict) == (True, False)


def test_relative_paths_are_relative_to_the_file_and_not_to_where_one_stands(load, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    text = MINIMAL.replace("specs.git }", "specs.git, token_file: secrets/git }")
    settings = load(text + "state_dir: state\nconsul: { token_file: ../consul-token }\n")

    assert settings.state_dir == tmp_path / "state"
    assert settings.store == f"sqlite:///{tmp_path}/state/gitsync.db"
    assert settings.syncs["payments"].git.token_file == tmp_path / "secrets/git"
    assert settings.consul.token_file == tmp_path / "../consul-token"


def test_the_paths_on_a_gateways_hosts_are_left_as_they_are(load):
    settings = load(
        MINIMAL + "gateways: { tgw-1: { default_ca_file: /etc/ca.pem, tls: [ { ca_file: /c/ca.pem } ] } }\n"
    )

    assert settings.gateways["tgw-1"].default_ca_file == "/etc/ca.pem"
    assert settings.gateways["tgw-1"].tls[0].ca_file == "/c/ca.pem"


@pytest.mark.parametrize(
    ("store", "is_"),
    [
        ("sqlite:///history.db", "sqlite:///{}/history.db"),
        ("sqlite:////srv/history.db", "sqlite:////srv/history.db"),
        (
            "postgresql+psycopg://gitsync@db/gitsync?passfile=/etc/pgpass",
            "postgresql+psycopg://gitsync@db/gitsync?passfile=/etc/pgpass",
        ),
        ("postgresql+psycopg:///gitsync?host=/run/postgresql", "postgresql+psycopg:///gitsync?host=/run/postgresql"),
    ],
)
def test_the_store_is_a_file_or_postgresql(load, tmp_path, store, is_):
    assert load(MINIMAL + f"store: {store}\n").store == is_.format(tmp_path)


def test_without_a_file_the_variables_can_say_everything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, {"GITSYNC_INSTANCE": "a", "GITSYNC_SYNCS__PAY__GIT__URL": "file:///srv/specs.git"})

    assert settings.syncs["pay"].git.url == "file:///srv/specs.git"


def test_the_file_is_named_by_the_argument_then_by_the_variable(tmp_path):
    (tmp_path / "one.yaml").write_text(MINIMAL.replace("prod-eu", "one"))
    (tmp_path / "two.yaml").write_text(MINIMAL.replace("prod-eu", "two"))
    environ = {"GITSYNC_CONFIG": str(tmp_path / "two.yaml")}

    assert load_settings(tmp_path / "one.yaml", environ).instance == "one"
    assert load_settings(None, environ).instance == "two"


def test_settings_made_by_hand_look_at_no_variable(monkeypatch):
    monkeypatch.setenv("GITSYNC_INSTANCE", "from-the-environment")
    monkeypatch.setenv("INSTANCE", "from-the-environment")
    settings = Settings.model_validate({"instance": "mine", "syncs": {"a": {"git": {"url": "file:///x"}}}})

    assert settings.instance == "mine"
    assert settings == Settings.model_validate({"instance": "mine", "syncs": {"a": {"git": {"url": "file:///x"}}}})


# -- variables ------------------------------------------------------------------------------------------------------------


def test_gitsyncs_variable_beats_the_alias_and_the_alias_beats_the_file(load):
    text = MINIMAL + "consul: { lock_ttl: 11s }\n"

    assert load(text).consul.lock_ttl == seconds(11)
    assert load(text, {"LOCK_TTL": "12s"}).consul.lock_ttl == seconds(12)
    assert load(text, {"LOCK_TTL": "12s", "GITSYNC_CONSUL__LOCK_TTL": "13s"}).consul.lock_ttl == seconds(13)


def test_an_empty_variable_says_nothing(load):
    settings = load(
        MINIMAL + "gateway: tgw-1\n", {"TGW_SERVICE_NAME": "", "GITSYNC_GATEWAY": "", "CONSUL_HTTP_TOKEN": ""}
    )

    assert settings.gateway == "tgw-1"
    assert settings.consul.token is None


def test_every_alias_is_honoured(load, tmp_path):
    environ = {
        "CONSUL_HTTP_ADDR": "https://consul.example:8501",
        "CONSUL_HTTP_TOKEN_FILE": "/t",
        "CONSUL_CACERT": "/ca",
        "CONSUL_CLIENT_CERT": "/c",
        "CONSUL_CLIENT_KEY": "/k",
        "CONSUL_PARTITION": "p",
        "CONSUL_NAMESPACE": "n",
        "TGW_SERVICE_NAME": "tgw-9",
        "LOCK_TTL": "20",
    }
    settings = load(MINIMAL, environ)
    consul = settings.consul

    assert (consul.address, str(consul.token_file), str(consul.ca_file)) == ("https://consul.example:8501", "/t", "/ca")
    assert (str(consul.cert_file), str(consul.key_file)) == ("/c", "/k")
    assert (consul.partition, consul.namespace, settings.gateway, consul.lock_ttl) == ("p", "n", "tgw-9", seconds(20))


def test_consuls_own_variables_mean_paths_as_consuls_own_commands_do(load, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = load(MINIMAL, {"CONSUL_CACERT": "ca.pem", "GITSYNC_CONSUL__TOKEN_FILE": "token"})

    assert settings.consul.ca_file == tmp_path / "elsewhere/ca.pem"
    assert settings.consul.token_file == tmp_path / "token"


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({"CONSUL_HTTP_ADDR": "127.0.0.1:1"}, "http://127.0.0.1:1"),
        ({"CONSUL_HTTP_ADDR": "consul:1", "CONSUL_HTTP_SSL": "true"}, "https://consul:1"),
        ({"CONSUL_HTTP_ADDR": "http://127.0.0.1:1", "CONSUL_HTTP_SSL": "true"}, "http://127.0.0.1:1"),
        ({"CONSUL_HTTP_SSL": "1"}, "https://127.0.0.1:8500"),
        ({"CONSUL_HTTP_SSL": "1", "GITSYNC_CONSUL__ADDRESS": "http://[::1]:7"}, "http://[::1]:7"),
    ],
)
def test_an_address_without_a_scheme_gets_the_one_that_consul_would_take(load, environ, address):
    assert load(MINIMAL, environ).consul.address == address


def test_of_a_token_and_a_file_with_one_the_higher_place_decides(load, tmp_path):
    text = MINIMAL + "consul: { token_file: mine }\n"
    by_file = load(text).consul
    by_alias = load(text, {"CONSUL_HTTP_TOKEN": "abc"}).consul
    by_own = load(text, {"CONSUL_HTTP_TOKEN": "abc", "GITSYNC_CONSUL__TOKEN_FILE": "/own"}).consul
    both = load(text, {"CONSUL_HTTP_TOKEN": "abc", "CONSUL_HTTP_TOKEN_FILE": "/t"}).consul

    assert (by_file.token, by_file.token_file) == (None, tmp_path / "mine")
    assert (by_alias.token and by_alias.token.get_secret_value(), by_alias.token_file) == ("abc", None)
    assert (by_own.token, by_own.token_file) == (None, Path("/own"))
    assert (both.token, both.token_file) == (None, Path("/t"))


def test_underscores_in_a_variable_find_the_sync_and_the_gateway_whatever_their_dashes_and_dots(load):
    text = MINIMAL.replace("payments:", "payments-eu:") + "gateways: { tgw.west-1: {}, Tgw_2: {} }\n"
    settings = load(
        text,
        {
            "GITSYNC_SYNCS__PAYMENTS_EU__INTERVAL": "9s",
            "GITSYNC_SYNCS__CARDS_US__GIT__URL": "file:///cards",
            "GITSYNC_GATEWAYS__TGW_WEST_1__DEFAULT_CA_FILE": "/a",
            "GITSYNC_GATEWAYS__TGW_2__DEFAULT_CA_FILE": "/b",
        },
    )

    assert settings.syncs["payments-eu"].interval == seconds(9)
    assert settings.syncs["cards-us"].git.url == "file:///cards"
    assert {name: gateway.default_ca_file for name, gateway in settings.gateways.items()} == {
        "tgw.west-1": "/a",
        "Tgw_2": "/b",
    }


def test_lists_are_given_with_commas_or_as_json(load):
    environ = {
        "GITSYNC_SYNCS__PAYMENTS__GIT__INCLUDE": "a/*.yaml, b/*.yaml",
        "GITSYNC_SYNCS__PAYMENTS__REDACT": '["cost,center"]',
        "GITSYNC_GATEWAYS__TGW_1__TLS": '[{"ca_file": "/c/ca.pem"}]',
    }
    settings = load(MINIMAL, environ)

    assert settings.syncs["payments"].git.include == ("a/*.yaml", "b/*.yaml")
    assert settings.syncs["payments"].redact == ("cost,center",)
    assert settings.gateways["tgw-1"].tls[0].ca_file == "/c/ca.pem"


def test_what_kubernetes_and_the_scripts_put_into_the_environment_is_no_setting(load):
    environ = {
        "GITSYNC_SERVICE_HOST": "10.0.0.1",
        "GITSYNC_SERVICE_PORT_HTTP": "80",
        "GITSYNC_PORT": "tcp://10.0.0.1:80",
        "GITSYNC_PORT_80_TCP_ADDR": "10.0.0.1",
        "GITSYNC_WEB_PORT_80_TCP": "tcp://10.0.0.1:80",
        "GITSYNC_CONSUL": "/usr/bin/consul",
        "GITSYNC_CONSUL_FROM": "debian",
        "GITSYNC_TEST_CONSUL": "1.21",
    }

    assert warnings(load(MINIMAL, environ), environ) == []


def test_a_variable_that_is_nearly_one_of_ours_is_refused_and_a_stranger_is_named(load, refusal):
    assert "GITSYNC_INSTANCES: there is no setting instances; did you mean instance?" in refusal(
        environ={"GITSYNC_INSTANCES": "x"}
    )
    assert "did you mean interval?" in refusal(environ={"GITSYNC_SYNCS__PAYMENTS__INTERVALL": "9s"})
    assert "GITSYNC_SYNCS__PAYMENTS__INTERVAL__X: syncs.payments.interval has no keys below it" in refusal(
        environ={"GITSYNC_SYNCS__PAYMENTS__INTERVAL__X": "9s"}
    )
    environ = {"GITSYNC_XYZZY": "1", "CONSUL_HTTP_SSL_VERIFY": "false"}
    assert warnings(load(MINIMAL, environ), environ) == [
        "GITSYNC_XYZZY is set, and gitsync does not read it",
        "CONSUL_HTTP_SSL_VERIFY is set, and gitsync does not read it",
    ]


ENVIRONMENT_EXAMPLES = {
    "duration": "30s",
    "whole number": "7",
    "number": "0.5",
    "true or false": "true",
    "file": "/srv/file",
    "list of text": "a,b",
    "list of file": "/a,/b",
    "list": "[]",
}
TEXT_EXAMPLES = {
    "store": "sqlite:////srv/x.db",
    "consul.address": "https://c:8501",
    "consul.version": "1.21.4",
    "web.listen": "[::1]:81",
    "web.hooks_listen": "[::1]:81",
    "web.public_url": "https://g",
    "retention.runs": "30d",
    "syncs.<sync>.git.url": "https://g/r",
    "syncs.<sync>.host.api_url": "https://g",
    "syncs.<sync>.signatures.gpg_fingerprints": f"{'A' * 40},{'B' * 40}",
    "gateways.<gateway>.default_ca_file": "/ca",
}


@pytest.mark.parametrize("setting", [one for one in describe() if one.environment], ids=lambda one: one.path)
def test_every_setting_can_be_given_by_its_variable(setting, tmp_path, monkeypatch):
    """The variable reaches the key: a bad value is complained about under it, a good one is not complained about at all."""
    monkeypatch.chdir(tmp_path)
    name = setting.environment.replace("<SYNC>", "PAYMENTS").replace("<GATEWAY>", "TGW_1")
    path = setting.path.replace("<sync>", "payments").replace("<gateway>", "tgw-1")
    good = (
        TEXT_EXAMPLES.get(setting.path) or ENVIRONMENT_EXAMPLES.get(setting.type) or re.sub("`|,.*", "", setting.type)
    )
    base = {"GITSYNC_INSTANCE": "a", "GITSYNC_SYNCS__PAYMENTS__GIT__URL": "https://g/r"}

    with pytest.raises(Invalid) as refused:
        load_settings(None, {**base, f"{name}__X": good})
    assert f"{name}__X: {path} has no keys below it" in str(refused.value)

    complaint = complaint_of(None, {**base, name: good})  # some cannot stand alone, or not in this version
    alone = ("consul.", ".git.", ".host.", "web.tls.", ".signatures.")
    assert not complaint or setting.later or any(group in setting.path for group in alone)
    assert "there is no setting" not in complaint


def complaint_of(file: Path | None, environ: dict[str, str]) -> str:
    """What is wrong with a configuration, "" if it can be used. Any other error than Invalid is a bug and goes up."""
    try:
        load_settings(file, environ)
    except Invalid as refused:
        return str(refused)
    return ""


# -- what is refused ------------------------------------------------------------------------------------------------------


def test_one_message_lists_every_problem_with_its_line(refusal, tmp_path):
    message = refusal(
        "instnce: x\n"
        "syncs:\n"
        "  payments:\n"
        "    git: { url: https://git.example/specs.git, timeout: 5 }\n"
        "    drift: put-back\n"
        "    prune: { max_fraction: 2 }\n"
    )
    file = tmp_path / "gitsync.yaml"

    assert f"{file}:1:1: there is no setting instnce; did you mean instance?" in message
    assert "instance: is missing" in message
    assert f'{file}:4:48: syncs.payments.git.timeout: 5 has no unit: write it with a unit, such as "5s"' in message
    assert f"{file}:5:5: syncs.payments.drift: should be 'enforce', 'detect' or 'off'" in message
    assert f"{file}:6:14: syncs.payments.prune.max_fraction" in message


def test_a_problem_of_a_variable_names_the_variable(refusal):
    assert "GITSYNC_CONSUL__CONCURRENCY: consul.concurrency: is no whole number" in refusal(
        MINIMAL + "consul: { concurrency: 5 }\n", {"GITSYNC_CONSUL__CONCURRENCY": "many"}
    )
    assert "LOCK_TTL: consul.lock_ttl: 5s is too short: at least 10s" in refusal(environ={"LOCK_TTL": "5s"})


LIMITS = [
    ("consul: { lock_ttl: 9s }", "at least 10s"),
    ("consul: { lock_ttl: 24h1s }", "at most 24h0m0s"),
    ("consul: { concurrency: 0 }", "greater than or equal to 1"),
    ("consul: { concurrency: 65 }", "less than or equal to 64"),
    ("consul: { timeout: 500ms }", "at least 1s"),
    ("consul: { version: latest }", "no version"),
    ("consul: { cert_file: a }", "cert_file is given without key_file"),
    ("consul: { key_file: a }", "key_file is given without cert_file"),
    ("retention: { runs: 59m }", "at least 1h"),
    ("web: { listen: 8080 }", "no address and port"),
    ("web: { listen: '::1:80' }", "no address and port"),
    ("web: { listen: 'h:65536' }", "no address and port"),
    ("gateway: ../tgw", "no name of a gateway"),
    ("gateways: { tgw-1: { default_ca_file: ca.pem } }", "begin with /"),
    ("gateways: { tgw-1: { tls: [ { ca_file: /a, cert_file: /b } ] } }", "cert_file is given without key_file"),
    ("store: mysql://h/x", "a store is sqlite"),
    ("store: 'sqlite:///'", "an SQLite store is a file"),
    ("store: 'sqlite://'", "an SQLite store is a file"),
    ("store: postgresql+psycopg://u@h/x?password=p", "a password in a URL"),
    ("log: { level: loud }", "should be 'debug', 'info', 'warning' or 'error'"),
]


@pytest.mark.parametrize(("line", "says"), LIMITS)
def test_what_is_out_of_bounds_is_refused(refusal, line, says):
    assert says in refusal(MINIMAL + line + "\n")


SYNC_LIMITS = [
    ("interval: 4s", "at least 5s"),
    ("interval: 60", "60 has no unit"),
    ("interval: 1d", "not a duration"),
    ("prune: { max_count: -1 }", "greater than or equal to 0"),
    ("prune: { max_fraction: nan }", "max_fraction"),
    ("strict: perhaps", "neither true nor false"),
    ("history: follow", "there is no setting syncs.payments.history"),
    ("redact: cost_center", "is no list"),
]


@pytest.mark.parametrize(("line", "says"), SYNC_LIMITS)
def test_what_a_sync_cannot_be_is_refused(refusal, line, says):
    assert says in refusal(MINIMAL + f"    {line}\n")


def test_names_are_short_plain_and_not_taken(refusal):
    assert "names have 1 to 32" in refusal(MINIMAL.replace("prod-eu", "Prod"))
    assert "names have 1 to 32" in refusal(MINIMAL.replace("prod-eu", "a" * 33))
    assert "names have 1 to 32" in refusal(MINIMAL.replace("payments", "pay_ments"))
    assert "the name `api` is taken" in refusal(MINIMAL.replace("payments", "api"))


def test_a_configuration_without_a_sync_or_without_anything_is_refused(refusal):
    assert "syncs: is missing" in refusal("instance: a\n")
    assert "syncs" in refusal("instance: a\nsyncs: {}\n")
    assert "instance: is missing" in refusal("")
    assert "holds no settings" in refusal("- a\n")
    assert "holds no settings" in refusal("just words\n")


def test_two_syncs_that_read_the_same_files_are_refused(refusal):
    text = MINIMAL + "  cards:\n    git: { url: https://git.example/platform/specs.git }\n"

    assert "cards read the same files" in refusal(text)


GIT_URLS = {
    "https://git.example/a.git": "",
    "ssh://git@git.example:2222/a.git": "",
    "git@git.example:platform/a.git": "",
    "file:///srv/a.git": "",
    "http://127.0.0.1:3000/a.git": "",
    "http://localhost/a.git": "",
    "http://[::1]/a.git": "",
    "http://git.example/a.git": "plain http goes to loopback only",
    "https://user@git.example/a.git": "take it out and use username and token_file",
    "https://user:hunter2@git.example/a.git": "take it out and use username and token_file",
    "ssh://git:hunter2@git.example/a.git": "take it out",
    "git://git.example/a.git": "no repository that gitsync reads",
    "ext::sh -c true": "no repository that gitsync reads",
    "../specs": "no repository that gitsync reads",
    "file://host/a.git": "write file:///",
    "https://git.example": "names a host and no repository",
    "https:///a.git": "names no host",
    "https://git.example/a?x=1": "neither ? nor #",
    "-oProxyCommand=x@h:y": "leading -",
    "https://git.example:port/a": "cannot be read",
}


@pytest.mark.parametrize(("url", "says"), GIT_URLS.items())
def test_which_repositories_are_read(load, refusal, url, says):
    text = MINIMAL.replace("https://git.example/platform/specs.git", f"'{url}'")
    if says:
        message = refusal(text)
        assert says in message
        assert "hunter2" not in message
    else:
        assert load(text).syncs["payments"].git.url == url


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://u:hunter2@c:8501", "use token_file"),
        ("http://consul.example:8500", "allow_plain_http: true"),
        ("unix:///run/consul.sock", "a unix socket is not supported"),
        ("ftp://c", "over http or https"),
        ("https://c:8501/v1/kv", "scheme, host and port only"),
    ],
)
def test_which_consul_addresses_are_refused(refusal, address, says):
    message = refusal(MINIMAL + f"consul: {{ address: '{address}' }}\n")

    assert says in message
    assert "hunter2" not in message


def test_plain_http_to_another_machine_takes_a_word_and_is_said_at_the_start(load):
    settings = load(MINIMAL + "consul: { address: 'http://consul:8500', allow_plain_http: true }\n")

    assert warnings(settings, {}) == [
        "consul.address: http://consul:8500 is plain http: tokens cross the network readable"
    ]


@pytest.mark.parametrize(
    ("git", "says"),
    [
        ("url: file:///a, token_file: t", "token_file is of use for https only, and url is file"),
        ("url: git@h:a, ca_file: t", "ca_file is of use for https only, and url is ssh"),
        ("url: https://h/a, ssh_key_file: t", "ssh_key_file is of use for ssh only, and url is https"),
        ("url: https://h/a, ref: '-x'", "no branch, tag or commit"),
        ("url: https://h/a, ref: a..b", "no branch, tag or commit"),
        ("url: https://h/a, path: ../x", "leads out of the repository"),
        ("url: https://h/a, include: [/etc/*]", "globs are relative to path"),
        ("url: https://h/a, timeout: 2h", "at most 1h0m0s"),
    ],
)
def test_what_of_a_repository_is_refused(refusal, git, says):
    assert says in refusal(f"instance: a\nsyncs: {{ payments: {{ git: {{ {git} }} }} }}\n")


@pytest.mark.parametrize("written", ["services", "/services/", "./services", "services//"])
def test_a_path_in_the_repository_has_one_spelling(load, written):
    text = MINIMAL.replace("specs.git }", f"specs.git, path: {written} }}")

    assert load(text).syncs["payments"].git.path == "services"


# -- secrets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("consul: { token: hunter2 }\n", {}),
        ("", {"GITSYNC_CONSUL__TOKEN": "hunter2"}),
        ("", {"GITSYNC_CONSUL": "x", "GITSYNC_CONSUL__TOKEN": "hunter2"}),
        ("store: postgresql+psycopg://u:hunter2@h/x\n", {}),
        ("consul: { tokn_file: hunter2 }\n", {}),
        ("consul: { password: hunter2 }\n", {}),
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(refusal, text, environ):
    assert "hunter2" not in refusal(MINIMAL + text, environ)


def test_a_token_hides_itself_wherever_settings_are_shown(load):
    settings = load(MINIMAL, {"CONSUL_HTTP_TOKEN": "hunter2"})

    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_a_secret_is_read_without_its_line_end(tmp_path):
    file = tmp_path / "token"
    file.write_text("abc\n")

    secret = read_secret(file, "consul.token_file")

    assert secret.get_secret_value() == "abc"
    assert "abc" not in repr(secret)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"one\ntwo\n", "more than one line"),
        (b"\xff\xfe", "holds no text"),
        (b"x" * 70_000, "too large"),
    ],
)
def test_a_file_that_holds_no_secret_is_named_with_its_setting(tmp_path, content, says):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(Invalid, match=re.escape(says)) as refused:
        read_secret(file, "consul.token_file")
    assert str(refused.value).startswith(f"consul.token_file: {file}")


def test_a_secret_that_everybody_can_read_is_named_at_the_start(load, tmp_path):
    text = (
        MINIMAL.replace("specs.git }", "specs.git, token_file: git-token, ca_file: ca.pem }")
        + "consul: { token_file: consul-token }\n"
    )
    for name, mode in (("git-token", 0o644), ("consul-token", 0o640), ("ca.pem", 0o644)):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(mode)
    settings = load(text)

    (warning,) = warnings(settings, {})
    assert warning.startswith(
        f"syncs.payments.git.token_file: {tmp_path}/git-token is open to every user of this machine (mode 0644)"
    )


def test_every_file_with_a_secret_is_known(load, tmp_path):
    text = (
        "instance: a\n"
        "consul: { address: https://c, token_file: t, cert_file: c, key_file: k, ca_file: ca }\n"
        "gateways: { tgw-1: { tls: [ { ca_file: /a, cert_file: /b, key_file: /k } ] } }\n"
        "syncs:\n"
        "  one: { git: { url: git@h:a, ssh_key_file: s, known_hosts_file: h } }\n"
        "  two: { git: { url: https://h/a, token_file: g } }\n"
    )

    assert {key: file.name for key, file in secret_files(load(text)).items()} == {
        "consul.token_file": "t",
        "consul.key_file": "k",
        "syncs.one.git.ssh_key_file": "s",
        "syncs.two.git.token_file": "g",
    }


# -- what this version does not do ----------------------------------------------------------------------------------------

LATER_EXAMPLES = {
    "api": "api: { drift: detect }\n",
}


def test_every_setting_of_a_later_version_has_an_example_here():
    assert set(LATER) == set(LATER_EXAMPLES)


@pytest.mark.parametrize("key", LATER)
def test_a_setting_that_would_do_nothing_is_refused_and_not_passed_over(refusal, key):
    message = refusal(MINIMAL + LATER_EXAMPLES[key])

    assert f"{key.replace('*', 'payments')} is not in this version of gitsync" in message
    assert re.search(r"gitsync\.yaml:\d+:\d+: ", message)


def test_what_this_version_does_may_be_written_down(load):
    settings = load(
        MINIMAL
        + "    signatures: { mode: off }\n    require_reviewed_plan: true\n"
        + "    host: { kind: gitea, api_url: https://g, repo: a/b, webhook_secret_files: [a, b], plan: off }\n"
        + "web: { hooks_listen: 127.0.0.1:1, public_url: https://g/, tls: { cert_file: c, key_file: k }, anonymous_read: true }\n"
        + "notify: [ { url: https://h/x, on: [failed, drift] } ]\n"
    )

    assert settings.web.public_url == "https://g"
    assert settings.syncs["payments"].host.kind == "gitea"
    assert settings.notify[0].on == ("failed", "drift")


# -- Git hosts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("{ kind: sourceforge }", "should be 'github'"),
        ("{ kind: gitlab, token_file: a, token_env: B }", "token_file, token_env and app: keep one of them"),
        ("{ kind: gitlab, app: { id: '1', key_file: k } }", "app is of use for github only, and kind is gitlab"),
        ("{ kind: gitlab, webhook_secret_files: [a, b, c] }", "at most 2"),
        ("{ kind: gitlab, api_url: http://git.example }", "plain http goes to loopback only"),
        ("{ kind: gitlab, token_env: a-b }", "no name of an environment variable"),
    ],
)
def test_a_host_that_cannot_be_is_refused(refusal, host: str, says: str):
    assert says in refusal(MINIMAL + f"    host: {host}\n")


# -- hostile text ---------------------------------------------------------------------------------------------------------

BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [" + ", ".join([f"*{chr(97 + i)}"] * 8) + "]\n" for i in range(8)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MINIMAL + "instance: again\n", "5:1: instance stands here twice"),
        (MINIMAL + "x: !!python/object:os.system {}\n", "there is no setting x"),
        (MINIMAL + "gateway: !secret tgw\n", "the tag !secret means nothing here"),
        ("instance: [", "is no YAML"),
        ("instance: a\n\tsyncs: b\n", "gitsync.yaml:2:"),
        ("a: b\x00\n", "is no YAML"),
        ("[" * 5_000, "is no YAML|more than"),
        ("a: " + "[" * 400 + "]" * 400, "more than 50000 values or 16 levels"),
        (BOMB, "more than 50000 values or 16 levels"),
        ("a: &a { b: *a }\n", "more than 50000 values or 16 levels|is no YAML"),
        ("x: " + "y" * 1_100_000, "larger than 1 MiB"),
        (MINIMAL + "---\na: b\n", "is no YAML"),
        ("? [a, b]\n: c\n", "a key is a word"),
    ],
    ids=lambda value: value[:20],
)
def test_a_text_that_is_no_configuration_is_refused_by_name(refusal, text, says):
    assert re.search(says, refusal(text))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "c.yaml").write_bytes(b"instance: \xff\n")
    with pytest.raises(Invalid, match="not UTF-8"):
        load_settings(tmp_path / "c.yaml", {})
    with pytest.raises(Invalid, match="cannot be read"):
        load_settings(tmp_path, {})
    with pytest.raises(Invalid, match=r"there is no configuration at .*gitsync init"):
        load_settings(tmp_path / "absent.yaml", {})


def test_where_there_is_no_file_at_all_the_way_to_one_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Invalid, match=r"there is no gitsync.yaml here: write one with `gitsync init`"):
        load_settings(None, {})


@given(st.text(max_size=200))
def test_arbitrary_text_is_refused_in_one_message(tmp_path_factory, text):
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    assert complaint_of(file, {}).startswith("the configuration cannot be used")


@given(st.dictionaries(st.from_regex(r"GITSYNC_[A-Z_]{1,30}", fullmatch=True), st.text(max_size=30), max_size=5))
def test_arbitrary_variables_are_read_or_refused_in_one_message(tmp_path_factory, environ):
    file = tmp_path_factory.getbasetemp() / "minimal.yaml"
    file.write_text(MINIMAL)
    environ.pop("GITSYNC_CONFIG", None)
    complaint = complaint_of(file, environ)
    assert not complaint or complaint.startswith("the configuration cannot be used")


@given(st.integers(0, 65_535))
def test_an_address_comes_apart_into_host_and_port(port):
    assert address_and_port(f"localhost:{port}") == ("localhost", port)
    assert address_and_port(f"[::1]:{port}") == ("::1", port)
