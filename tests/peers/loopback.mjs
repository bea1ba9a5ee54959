// Loaded with --import in front of a server that takes its port from whoever starts
// it and listens on every address: makes it listen on loopback, on a port that the
// system picks, and print PORT=… once it does.

import net from "node:net";

const listen = net.Server.prototype.listen;

net.Server.prototype.listen = function (...args) {
  const callbacks = args.filter((arg) => typeof arg === "function");
  this.once("listening", () => console.log(`PORT=${this.address().port}`));
  return listen.call(this, { host: "127.0.0.1", port: 0 }, ...callbacks);
};
