from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from redbeat.schedulers import get_redis as redbeat_client
from redis.sentinel import MasterNotFoundError

import steadybeat
from steadybeat.address import Address, without_password
from steadybeat.beat.projection import get_redis
from steadybeat.channel import client
from steadybeat.errors import ConfigurationError

THREE = "sentinel://:p%40ss@h1:26379;sentinel://h2;sentinel://[::1]:26381/2?master_name=mymaster"
NODES = (("h1", 26379), ("h2", 26379), ("::1", 26381))


def installed(**conf: Any) -> Celery:
    app = Celery("shop", set_as_current=False)
    app.conf.update(**conf)
    steadybeat.install(app)
    return app


def refused(**conf: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        installed(**conf)
    assert "secret" not in str(caught.value)
    return str(caught.value)


def test_a_url_of_sentinels_is_read_whole() -> None:
    address = Address.read(THREE, "broker_url")
    assert address.sentinels == NODES
    assert (address.master_name, address.password, address.username, address.db) == ("mymaster", "p@ss", None, 2)


def test_a_list_of_urls_and_the_name_among_the_transport_options_mean_the_same() -> None:
    parts = ["sentinel://h1", "sentinel://me:p%40ss@h2/2"]
    address = Address.read(parts, "broker_url", {"master_name": "mymaster"})
    assert (address.sentinels, address.master_name) == ((("h1", 26379), ("h2", 26379)), "mymaster")
    assert (address.username, address.password, address.db) == ("me", "p@ss", 2)


def test_what_is_shown_of_an_address_holds_no_password() -> None:
    assert Address.read(THREE, "broker_url").shown == (
        "sentinel://h1:26379;sentinel://h2:26379;sentinel://[::1]:26381/2"
    )  # fmt: skip
    assert Address.read("redis://me:p@ss@h:1/0", "broker_url").shown == "redis://me:***@h:1/0"
    assert "p@ss" not in repr(Address.read(THREE, "broker_url"))


def test_every_password_of_several_urls_is_hidden() -> None:
    assert without_password("sentinel://:one@a:1;sentinel://me:two@b/0") == "sentinel://:***@a:1;sentinel://me:***@b/0"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sentinel://:secret@h1:26379/0", "sentinel://…: lacks the master's name. End it with ?master_name=mymaster"),
        ("sentinel://:secret@/0?master_name=m", "sentinel://: lacks a host: sentinel://:password@host-1:26379;"),
        ("sentinel://h:port/0?master_name=m", "sentinel://host:…: must have a number as port"),
        ("sentinel://:secret@h1;redis://h2/0?master_name=m", "redis://…; sentinel://…: mixes schemes. Write sentinel"),
        ("sentinel://h1;h2/0?master_name=m", "mixes schemes. Write sentinel:// before every host"),
        ("sentinel://h1/zero?master_name=m", "sentinel://…/zero: must end with the number of a database, such as /0"),
        ("sentinel://h1/1;sentinel://h2/2?master_name=m", "1 and 2: names different databases; write it once."),
        ("sentinel://:secret@h1;sentinel://:secret2@h2?master_name=m", "2 passwords: names different passwords"),
        ("sentinel://h1/0?mastername=m", "sentinels take no such option. Did you mean 'master_name'?"),
        ("redis://:secret@h1;redis://h2", "2 servers: must be one server, or sentinels: sentinel://"),
        ("redis-cluster://:secret@h1:7000", "redis-cluster://…: Redis Cluster cannot be used: "),
        ("rabbit://guest:secret@h1", "rabbit://…: must be a URL of Redis; set steadybeat_redis_url."),
    ],
)
@pytest.mark.parametrize("name", ["steadybeat_redis_url", "broker_url"])
def test_a_wrong_url_is_refused_at_install_with_its_setting_and_the_way_out(name: str, url: str, message: str) -> None:
    said = refused(**{name: url})
    assert said.startswith(f"{name}=")
    assert message in said


def test_a_master_named_twice_must_be_the_same() -> None:
    said = refused(steadybeat_redis_url=THREE, broker_transport_options={"master_name": "other"})
    assert "mymaster and other: names different master names; write it once." in said


@pytest.mark.parametrize("name", ["steadybeat_redis_url", "broker_url"])
def test_broker_redbeat_and_lock_are_told_of_the_sentinels_by_one_url(name: str) -> None:
    options = {"sentinel_kwargs": {"password": "theirs"}}
    conf = installed(**{name: THREE, "broker_transport_options": options}).conf
    assert conf.broker_url == THREE
    assert conf.broker_transport_options["master_name"] == "mymaster"
    assert conf.broker_transport_options["visibility_timeout"] == 3600
    assert conf.redbeat_redis_url.startswith("redis-sentinel://")
    assert conf.redbeat_redis_options == {
        "sentinels": [list(each) for each in NODES],
        "service_name": "mymaster",
        "db": 2,
        "password": "p@ss",
        "sentinel_kwargs": {"password": "theirs"},
        "socket_timeout": 2.0,
        "socket_connect_timeout": 2.0,
    }


def test_a_connection_and_each_of_its_copies_ask_the_sentinels_on_our_channel() -> None:
    connection = installed(steadybeat_redis_url=THREE).connection_for_write()
    with connection, connection.clone() as copy, connection.Pool(1).new() as pooled:
        for each in (connection, copy, pooled):
            assert each.transport.Channel.__name__ == "SentinelChannel"
            assert (each.hostname, each.port, each.password, each.virtual_host) == ("h1", 26379, "p@ss", "2")
            assert each.transport_options["steadybeat_sentinels"] == NODES
        assert connection.as_uri() == "sentinel://:**@h1:26379/2"
        assert connection.as_uri(include_password=True) == "sentinel://:p%40ss@h1:26379/2"


def test_what_redbeat_is_told_by_the_configuration_is_left_alone() -> None:
    conf = installed(
        broker_url="redis://h/0", redbeat_redis_url="redis://other/1", redbeat_redis_options={"retry_period": 5}
    ).conf
    assert (conf.redbeat_redis_url, conf.redbeat_redis_options) == ("redis://other/1", {"retry_period": 5})


def test_sentinels_that_redbeat_was_told_of_before_are_left_alone() -> None:
    options = {"sentinels": [("h1", 26379)], "service_name": "m", "password": "x", "socket_timeout": 1}
    app = installed(
        broker_url="sentinel://:x@h1/0?master_name=m",
        redbeat_redis_url="redis-sentinel://any/0",
        redbeat_redis_options=options,
    )
    assert (app.conf.redbeat_redis_url, app.conf.redbeat_redis_options) == ("redis-sentinel://any/0", options)
    address = Address.of_redbeat(app.conf.redbeat_redis_url, app.conf.redbeat_redis_options)
    assert (address.sentinels, address.master_name, address.password) == ((("h1", 26379),), "m", "x")


def test_redbeat_over_a_cluster_is_refused() -> None:
    options = {"cluster": True}
    assert "redbeat_redis_options['cluster']=True: Redis Cluster cannot be used: " in refused(
        redbeat_redis_options=options
    )
    assert "redbeat_redis_url=redis-cluster://…: Redis Cluster cannot be used: " in refused(
        redbeat_redis_url="redis-cluster://h:7000"
    )


def test_redbeats_sentinels_without_hosts_are_refused() -> None:
    assert "lacks redbeat_redis_options['sentinels']" in refused(redbeat_redis_url="redis-sentinel://h/0")


def test_beat_answers_remote_control_unless_the_configuration_says_otherwise() -> None:
    assert installed().conf.beat_enable_remote_control
    assert installed().conf.beat_remote_control_max_tick_age == 60.0
    assert not installed(beat_enable_remote_control=False).conf.beat_enable_remote_control


def test_redbeat_reaches_the_master_through_one_client_that_gives_up() -> None:
    app = installed(steadybeat_redis_url=THREE)
    client = get_redis(app)
    assert get_redis(app) is redbeat_client(app) is client
    said = client.connection_pool.connection_kwargs
    assert said["decode_responses"]
    assert (said["password"], said["db"], said["socket_connect_timeout"]) == ("p@ss", 2, 2.0)


def test_where_there_is_no_master_each_sentinel_is_named_and_no_password() -> None:
    address = Address.read("sentinel://:secret@127.0.0.1:1;sentinel://127.0.0.1:2?master_name=m", "broker_url")
    with (
        client(address, timeout_seconds=1, sentinel_kwargs={"password": "hush"}) as opened,
        pytest.raises(MasterNotFoundError) as caught,
    ):
        opened.ping()
    said = str(caught.value)
    assert said.startswith("no master 'm': 127.0.0.1:1 answers: Error 111 connecting to 127.0.0.1:1")
    assert "; 127.0.0.1:2 answers: " in said
    assert "secret" not in said
    assert "hush" not in said
