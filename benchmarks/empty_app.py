"""An empty FastAPI route, as the sidecar is served: what its requests per second are compared with."""

import argparse

import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def empty() -> dict[str, str]:
    """Nothing."""
    return {}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(
        app, port=parser.parse_args().port, loop="uvloop", http="httptools", access_log=False, ws="none"
    )
