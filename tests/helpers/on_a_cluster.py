"""A process on a cluster that serves requests by one server or another."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import threading

import httpx
from support import me

from obo_kit import NoUserIdentityError, user_session, with_user_client


@with_user_client
def whoami(client) -> str:
    return me(client)


@user_session
def predict() -> str:
    return whoami()


async def while_the_task_waits(ask):
    waits = threading.Event()
    asyncio.get_running_loop().call_soon(waits.set)
    return await asyncio.to_thread(lambda: ask() if waits.wait(60) else "")


async def by_uvicorn(ask, in_loop):
    import uvicorn

    async def app(scope, receive, send):
        answer = (await while_the_task_waits(ask)).encode()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(answer))]}
        )
        await send({"type": "http.response.body", "body": answer})

    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_level="critical"))
    running = asyncio.create_task(server.serve() if in_loop else asyncio.to_thread(server.run))
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


async def by_aiohttp(ask, in_loop):
    from aiohttp import web

    async def answer(request):
        return web.Response(text=await while_the_task_waits(ask))

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site._server.sockets[0].getsockname()[1]
    await runner.cleanup()


async def by_http_server(ask, in_loop):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(ask().encode())

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


SERVERS = {"uvicorn": by_uvicorn, "aiohttp.web": by_aiohttp, "http.server": by_http_server}


def ask():
    try:
        return predict()
    except NoUserIdentityError as error:
        return error.message


async def served(server, in_loop):
    async with contextlib.aclosing(SERVERS[server](ask, in_loop)) as serving:
        url = f"http://127.0.0.1:{await anext(serving)}"
        answer = await asyncio.to_thread(lambda: httpx.get(url).text)
        with contextlib.suppress(StopAsyncIteration):
            await anext(serving)
        return answer


def answer(answers, server, in_loop):
    """Put who acts in a notebook, and what an endpoint answers."""
    answers.put((ask(), asyncio.run(served(server, in_loop))))
