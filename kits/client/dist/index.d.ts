/** What can be sent in a WebSocket message. */
export type Frame = string | ArrayBuffer | ArrayBufferView<ArrayBuffer>;
/** What a frame from the server means. All fields are optional. */
export interface Received<In> {
    /** For the listeners of "message". */
    message?: In;
    /** The message's ID: the client continues after it, and drops later messages with it. */
    id?: string | undefined;
    /** The server has the message that was sent with this key. */
    key?: string | undefined;
    /** The server doesn't accept a message. With retry, the client sends it again later. */
    refused?: {
        key: string;
        reason: string;
        retry: boolean;
    } | undefined;
    /** Messages are missing here. */
    gap?: boolean;
    /**
     * The server accepts messages from now on. Unacknowledged ones are sent again, after the
     * listeners of "message" have been called. Only with a codec that greets.
     */
    ready?: boolean;
}
/** A protocol: how messages become frames, and what frames mean. */
export interface Codec<In, Out> {
    /** The server is ready only when a frame says so, not as soon as there is a connection. */
    greets?: boolean;
    /**
     * False if the server doesn't acknowledge messages. Then send repeats nothing: it only
     * waits for a connection.
     */
    acknowledges?: boolean;
    /** Makes a frame. Messages without key aren't acknowledged. */
    encode(message: Out, key?: string): Frame;
    /** Reads a frame: a string, or an ArrayBuffer. */
    decode(frame: string | ArrayBuffer): Received<In>;
}
/** A message of {@link json}. Further fields are the application's. */
export interface JSONMessage {
    type?: string;
    id?: string;
    key?: string;
    reason?: string;
    retry?: boolean;
    [field: string]: unknown;
}
/**
 * The default codec: JSON objects in text messages. The field id is a message's ID, and
 * key acknowledges. The types "gap" and "refused" (with key, reason, and retry) are as in
 * {@link Received}.
 */
export declare const json: Codec<JSONMessage, object>;
/** Delays in milliseconds. Each is a random part of the given one (full jitter). */
export interface Backoff {
    /** Before the first attempt after a connection that was stable. Default: 1000. */
    first?: number;
    /** Before the second one; it is doubled for each further one. Default: 1000. */
    base?: number;
    /** The longest. Default: 30,000. */
    max?: number;
    /** After this time a connection counts as stable. Default: 5000. */
    stable?: number;
}
/** The parts of a WebSocket that the client uses. */
export interface Socket {
    readonly readyState: number;
    binaryType: string;
    onopen: ((event: any) => void) | null;
    onmessage: ((event: any) => void) | null;
    onclose: ((event: any) => void) | null;
    onerror: ((event: any) => void) | null;
    send(data: any): void;
    close(code?: number, reason?: string): void;
}
export interface Options<In, Out> {
    /**
     * The server's address: ws:, wss:, http:, https:, or relative to the page. The ID of the
     * last message is added as the parameter since. A function is called for each attempt,
     * with that ID or "", and adds it itself.
     */
    url: string | ((since: string) => string | Promise<string>);
    /** Subprotocols for the handshake. */
    protocols?: string | string[];
    /** The protocol. Default: {@link json}. */
    codec?: Codec<In, Out>;
    /** The ID of the last message that the application has. Default: "". */
    since?: string;
    backoff?: Backoff;
    /** How long an attempt may take until the server is ready, in ms. Default: 10,000. */
    connectTimeout?: number;
    /**
     * If nothing is received for so long, in ms, the connection is dead, and the client
     * connects again. Default: 0, never: a server may have nothing to say.
     */
    idleTimeout?: number;
    /** Makes a frame to send after half of idleTimeout, to which the server answers. */
    ping?: () => Frame;
    /** How many messages may be unacknowledged. Default: 100. */
    queue?: number;
    /** How long to wait before refused messages are sent again, in ms. Default: 2000. */
    retry?: number;
    /** Whether a Close is final: the client doesn't connect again. Default: {@link isFinal}. */
    final?: (code: number, reason: string) => boolean;
    /** The WebSocket to use. Default: the global one. In Node before 22 use that of ws. */
    WebSocket?: new (url: string, protocols?: string | string[]) => Socket;
    /** Returns a number from 0 up to, not including, 1. For tests. Default: Math.random. */
    random?: () => number;
}
/** What the client is doing. */
export type State = {
    name: "connecting";
} | {
    name: "open";
}
/** It will connect in delay ms, after a connection has ended, or couldn't be made (1006). */
 | {
    name: "waiting";
    delay: number;
    code: number;
    reason: string;
}
/** It won't connect any more, because of a final Close or of close. */
 | {
    name: "closed";
    code: number;
    reason: string;
};
/** The listeners' arguments, by the name of their event. */
export interface Events<In> {
    state: [state: State];
    message: [message: In];
    /** Messages are missing here. */
    gap: [];
    /** The server has this message. */
    acknowledged: [key: string];
    /** The server has refused a message. Without retry it is dropped. */
    refused: [key: string, reason: string, retry: boolean];
    /** A frame couldn't be decoded, and is ignored, or there is no URL. */
    error: [error: unknown];
}
/**
 * The default of Options.final: 1000, 1008 (policy violation) and the application's codes,
 * 4000 to 4999. After all others, the server may accept a new connection.
 */
export declare const isFinal: (code: number) => boolean;
/** Returns a key that nobody else has. crypto.randomUUID needs a page by HTTPS; this doesn't. */
export declare const randomKey: () => string;
export declare class Client<In = JSONMessage, Out = object> {
    #private;
    /** What the client is doing. */
    state: State;
    /** The ID of the last message, or "". */
    since: string;
    /** Connects at once. Listeners that are added at once miss nothing. */
    constructor(options: Options<In, Out>);
    /** Calls listener for each event, until the function that it returns is called. */
    on<E extends keyof Events<In>>(event: E, listener: (...args: Events<In>[E]) => void): () => void;
    /**
     * Sends a message, again on each new connection until the server has acknowledged it, and
     * returns its key. The server must accept a key only once: hub.PublishWith does. It
     * throws a RangeError if too many messages are unacknowledged, and an Error if the client
     * is closed.
     */
    send(message: Out, key?: string): string;
    /**
     * Sends a message if there is a connection, and reports whether it did. Nothing is
     * repeated: for what is soon out of date, and for answers to a greeting.
     */
    notify(message: Out): boolean;
    /** The messages that the server hasn't acknowledged, by key. */
    get unacknowledged(): ReadonlyMap<string, Out>;
    /**
     * Forgets the last ID, which messages have been received, and what is unacknowledged, as
     * for another room. It returns what was unacknowledged and may have arrived.
     */
    reset(): Map<string, Out>;
    /** Ends the connection, and doesn't connect again. */
    close(code?: number, reason?: string): void;
    /** Connects again after the client was closed, and sends what is unacknowledged. */
    reopen(): void;
}
