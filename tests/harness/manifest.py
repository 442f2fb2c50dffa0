"""Deployment manifests, as an operator writes them."""

import json

from azure.iot.hub.models import ConfigurationContent

EDGE_HUB = "mcr.microsoft.com/azureiotedge-hub:1.5"
EDGE_AGENT = "mcr.microsoft.com/azureiotedge-agent:1.5"
SENSOR = "mcr.microsoft.com/azureiotedge-simulated-temperature-sensor:1.5"


def module(image, env=None, create_options=None, **more):
    return {
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "version": "1.0",
        "env": {name: {"value": value} for name, value in (env or {}).items()},
        "settings": {"image": image, "createOptions": json.dumps(create_options or {})},
        **more,
    }


def sensor(interval_seconds=1, count=-1, **more):
    env = {"MessageDelay": f"00:00:{interval_seconds:02}", "MessageCount": str(count)}
    return module(SENSOR, env, **more)


def deployment(modules=None, routes=None, edge_hub_env=None, edge_hub_options=None, twins=None, hub_settings=None):
    """A whole content for one device: `modules` are user modules by name, `twins` their desired
    properties."""
    routes = {"upstream": "FROM /messages/* INTO $upstream"} if routes is None else routes
    edge_hub = module(EDGE_HUB, edge_hub_env, edge_hub_options)
    agent = {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25", "loggingOptions": ""}},
        "systemModules": {
            "edgeAgent": {"type": "docker", "settings": {"image": EDGE_AGENT, "createOptions": ""}},
            "edgeHub": edge_hub,
        },
        "modules": modules or {},
    }
    hub = {
        "schemaVersion": "1.1",
        "routes": routes,
        "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
        **(hub_settings or {}),
    }
    content = {
        "$edgeAgent": {"properties.desired": agent},
        "$edgeHub": {"properties.desired": hub},
    }
    for name, desired in (twins or {}).items():
        content[name] = {"properties.desired": desired}
    return ConfigurationContent(modules_content=content)
