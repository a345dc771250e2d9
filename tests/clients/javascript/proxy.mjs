// Lets Node's own fetch use HTTPS_PROXY, as the libraries of Python do by themselves.

import { EnvHttpProxyAgent, setGlobalDispatcher } from "undici";

setGlobalDispatcher(new EnvHttpProxyAgent());
