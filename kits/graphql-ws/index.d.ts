import type { IncomingMessage, ServerResponse } from "http";
import type { ExecutionArgs } from "graphql";
import type { ConnectionInitMessage, Context, ServerOptions, SubscribePayload } from "graphql-ws";
import type { WebSocket, WebSocketServer } from "ws";

/** How a session has come from another server. */
export interface Reattached {
  readonly reason: "drain" | "loss" | "rebalance";
  /** The balancer's name of the server that it comes from. */
  readonly from: string;
  /** Number of the session's moves, from 1; it stays at 255. */
  readonly move: number;
}

/** What ctx.extra has. */
export interface Extra {
  readonly socket: WebSocket;
  readonly request: IncomingMessage;
  /** Set if the session has come from another server. */
  readonly reattached?: Reattached;
  /** The operations that have come with it, by ID, until they end. A cursor is what the option cursor has returned. */
  readonly resumed: ReadonlyMap<string, { readonly cursor: any }>;
  /** True if the session continues on another server; it was disconnected with 1012. */
  readonly moved?: boolean;
}

/** The type of the context that graphql-ws gives to its functions. */
export type Ctx<P extends ConnectionInitMessage["payload"] = ConnectionInitMessage["payload"], E = {}> = Context<P, Extra & E>;

export interface Options {
  /** A connected client of the package redis (4 or later) or ioredis. It isn't closed. */
  redis: unknown;
  /** Returns where a subscription is, as a value that JSON has. result is undefined when it begins. */
  cursor?: (ctx: Ctx<any, any>, id: string, payload: SubscribePayload, args: ExecutionArgs, result: unknown) => unknown;
  /** Time in ms between pings to clients, 0 for none. Default 12000. */
  keepAlive?: number;
  /** Begin of all keys in Redis. Default "holdfast:gql:". */
  prefix?: string;
  /** Path of the health check, or false for none. Default "/health". */
  health?: string | false;
  /** Who may send Holdfast-* fields: addresses and networks, or a function. Default all. */
  trust?: string[] | ((request: IncomingMessage) => boolean);
  /** Time in ms for queries and mutations to end before a session leaves. Default 3000. */
  finish?: number;
  /** Time in ms after which changed cursors are saved, for crashes. Default 1000. */
  saveEvery?: number;
  /** Time in ms for which a session's state is kept after it was last saved. Default 600000. */
  ttl?: number;
  /** Time in ms after which a command to Redis has failed. Default 2000. */
  redisTimeout?: number;
}

export interface ShutdownOptions {
  /** Time in ms for the balancer to notice, and to move the sessions. Default 15000. */
  notice?: number;
  /** Time in ms over which the connections that are left are closed. Default 8000. */
  spread?: number;
}

export interface Moves {
  on(event: "reattach", listener: (session: string, info: Reattached) => void): this;
  on(event: "leave", listener: (session: string) => void): this;
  on(event: "warning", listener: (error: Error) => void): this;
  off(event: string, listener: (...args: any[]) => void): this;
  /** Ends the server: health checks fail, sessions move away, the rest is closed. */
  shutdown(options?: ShutdownOptions): Promise<void>;
  /** Closes all connections at once. */
  dispose(): Promise<void>;
  /** Answers a health check, if the option health is false or the WebSocketServer has no HTTP server. */
  health(request: IncomingMessage, response: ServerResponse): void;
}

/** Serves GraphQL as useServer of graphql-ws/use/ws does, and lets sessions move between servers. */
export function useServer<P extends ConnectionInitMessage["payload"] = ConnectionInitMessage["payload"], E extends Record<PropertyKey, unknown> = Record<PropertyKey, never>>(
  serverOptions: ServerOptions<P, Extra & Partial<E>>,
  wss: WebSocketServer,
  options: Options,
): Moves;
