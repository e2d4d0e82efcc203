"""The outbox on its way: what is told of its depth, and what each refusal of a record means."""

from __future__ import annotations

from pathlib import Path

from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.ports import Link
from edge_agent.sources.registry import open_source
from tests.edge_agent.receiver_simulator import ReceiverSimulator
from tests.edge_agent.upload_rig import Rig, record, run

SIM = "sim:duration_s=5,lidar=0"
MANY = 150


def test_status_and_metrics_tell_how_many_records_wait(tmp_path: Path) -> None:
    config = AgentConfig.model_validate(
        {"state": tmp_path, "vehicle_id": "car", "source": SIM, "metrics": {"port": 0}}
    )
    agent = Agent(config, open_source(SIM), SIM)
    for number in range(MANY):
        agent._drive.ledger.outbox.put(record(number))
    readings = agent._metrics_server(0)._rows
    told = {row.name: row.value for row in readings() if row.name == "queue_events"}
    assert (agent.report(finished=False).waiting_events, told) == (MANY, {"queue_events": MANY})
    agent._drive.close(in_order=True)


def test_a_drain_tells_how_many_records_it_left(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        for number in range(MANY):
            vehicle.ledger.outbox.put(record(number))
        vehicle.link.change(Link("none"))
        assert (await vehicle.uploader.drain()).events_kept == MANY

    run(tmp_path, ReceiverSimulator(), body)
