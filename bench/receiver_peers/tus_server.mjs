// The reference tus server over a folder; prints its port.
import { createRequire } from 'node:module'
const require = createRequire(process.argv[2] + '/')
const { Server } = require('@tus/server')
const { FileStore } = require('@tus/file-store')
const server = new Server({ path: '/files', datastore: new FileStore({ directory: process.argv[3] }) })
const listening = server.listen({ host: '127.0.0.1', port: 0 }, () => {
  console.log(listening.address().port)
})
