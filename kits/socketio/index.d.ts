import type { IncomingMessage, ServerResponse } from "http";
import type { Server, Socket } from "socket.io";

/** What a socket has besides its own fields: (socket as Socket & Moving).reattached */
export interface Moving {
  /** Set on a socket that has come from another server. */
  readonly reattached?: Reattached;
  /** True on a socket that continues on another server; its reason to disconnect was "moved". */
  readonly moved?: boolean;
}

/** How a socket has come from another server. */
export interface Reattached {
  readonly reason: "drain" | "loss" | "rebalance";
  /** The balancer's name of the server that it comes from. */
  readonly from: string;
  /** Number of the session's moves, from 1; it stays at 255. */
  readonly move: number;
}

export interface Options {
  /** A connected client of the package redis (4 or later) or ioredis. It isn't closed. */
  redis: unknown;
  /** As given to createAdapter. Default "socket.io". */
  streamName?: string;
  /** As given to createAdapter. Default 1. */
  streamCount?: number;
  /** Begin of all keys and channels in Redis. Default "holdfast:sio:". */
  prefix?: string;
  /** Path of the health check, or false for none. Default "/health". */
  health?: string | false;
  /** Who may send Holdfast-* fields: addresses and networks, or a function. Default all. */
  trust?: string[] | ((request: IncomingMessage) => boolean);
  /** Time in ms for handlers to give their acks before a session leaves. Default 1000. */
  finish?: number;
  /** Time in ms for which a session's state is kept after it was last saved. Default 600000. */
  ttl?: number;
  /** Time in ms after which a command to Redis has failed. Default 2000. */
  redisTimeout?: number;
  /** Returns what the application wants to keep of a socket, beside socket.data. */
  save?: (socket: Socket) => unknown;
  /** Gets what save has returned, before the socket's "connection" event. */
  restore?: (socket: Socket & Moving, value: any) => void | Promise<void>;
}

export interface ShutdownOptions {
  /** Time in ms for the balancer to notice, and to move the sessions. Default 15000. */
  notice?: number;
  /** Time in ms over which the connections that are left are closed. Default 8000. */
  spread?: number;
  /** Time in ms for acks of clients that have moved. Default 5000. */
  callbacks?: number;
}

export interface Moves {
  /** Resolves when sessions can come and go, and rejects if Redis doesn't answer. */
  readonly ready: Promise<void>;
  on(event: "reattach", listener: (socket: Socket & Moving, info: Reattached) => void): this;
  on(event: "leave", listener: (session: string) => void): this;
  on(event: "warning", listener: (error: Error) => void): this;
  off(event: string, listener: (...args: any[]) => void): this;
  /** Stores the state of a socket's session now, so that not even kill -9 loses it. */
  save(socket: Socket): Promise<void>;
  /** Ends the server: health checks fail, sessions move away, the rest is closed. */
  shutdown(options?: ShutdownOptions): Promise<void>;
  /** Answers a health check, if the option health is false. */
  health(request: IncomingMessage, response: ServerResponse): void;
}

/** Lets the sessions of clients move between servers. io must be attached to its HTTP server. */
export function reattach(io: Server<any, any, any, any>, options: Options): Moves;
