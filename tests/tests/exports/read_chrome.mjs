// Reads a trace with speedscope's own importer, and prints what that found, as JSON.
//
//     read_chrome.mjs SPEEDSCOPE TRACE
//
// SPEEDSCOPE is the directory of its npm package, whose release is made for browsers: one
// script, which draws its page as soon as it is loaded. Here it is loaded without a page,
// its importer is handed out where it loads that itself, and what comes behind may fail.
// The importer knows nothing but stretches; spans and events are as JSON.parse has them.

import fs from 'node:fs'
import path from 'node:path'
import vm from 'node:vm'

const [directory, trace] = process.argv.slice(2)
const text = fs.readFileSync(trace, 'utf8')
const found = {warnings: []}

// What may be asked for anything, and is it.
const anything = new Proxy(function () {}, {
  get: (_, key) => (key === Symbol.toPrimitive ? () => '' : anything),
  apply: () => anything,
  construct: () => anything,
})

const importer = await load()
const group = await importer.importProfileGroupFromText(path.basename(trace), text)
if (group === null) throw new Error('speedscope knows no such format')
// Integers that JavaScript does not hold are texts as long as they are here.
const {traceEvents, otherData} = JSON.parse(text.replace(/:(\d{16,})(?=[,}])/g, ':"big:$1"'))
const read = JSON.stringify({
  ...found,
  threads: group.profiles.map(thread),
  spans: spans(),
  events: traceEvents.filter(event => event.ph === 'i').map(said),
})
console.log(read.replace(/"big:(\d+)"/g, '$1'))

async function load() {
  const release = path.join(directory, 'dist/release')
  const file = fs.readdirSync(release).find(name => /^speedscope-.*\.js$/.test(name))
  const script = fs.readFileSync(path.join(release, file), 'utf8')
  const exported = script.match(
    /([\w$]+)=\{\};[\w$]+\(\1,\{[^}]*importProfileGroupFromText:/
  )
  const name = exported[1].replace('$', '\\$')
  const loads = new RegExp(`then\\(\\(\\)=>\\(([\\w$]+)\\(\\),(${name})\\)\\)`)
  const handed = script.replace(loads, 'then(()=>handOut(($1(),$2)))')
  return new Promise((resolve, reject) => {
    const words = 'speedscope hands its importer out elsewhere'
    const late = setTimeout(reject, 10_000, new Error(words))
    const handOut = module => {
      clearTimeout(late)
      resolve(module)
      return module
    }
    const quiet = {...console, log() {}, warn: words => found.warnings.push(words)}
    const world = {console: quiet, handOut, setTimeout, clearTimeout, TextDecoder, TextEncoder}
    const page = {window: anything, self: anything, document: anything, navigator: anything}
    try {
      vm.runInNewContext(handed, {...world, ...page})
    } catch {
      // It has no page to draw.
    }
  })
}

// What a thread entered and left, one after the other; speedscope counts from the first.
function thread(profile) {
  const [, name, id] = profile.getName().match(/^.* \(pid \d+\), (.*) \(tid (\d+)\)$/)
  const own = traceEvents.filter(event => 'BE'.includes(event.ph) && event.tid === Number(id))
  const first = Math.min(...own.map(event => event.ts))
  const calls = []
  const call = (what, node, at) => {
    const name = node.frame.name.replace(/ \{.*$/, '')
    calls.push([what, name, moment(first + at)])
  }
  profile.forEachCall(
    (node, at) => call('enter', node, at),
    (node, at) => call('leave', node, at),
  )
  return {name, id: Number(id), calls}
}

// Each span, from its opening to its closing.
function spans() {
  const open = new Map()
  const spans = []
  for (const event of traceEvents) {
    if (event.ph === 'b') open.set(event.id, event)
    if (event.ph !== 'e') continue
    const {name, ts, args} = open.get(event.id)
    open.delete(event.id)
    const {open_at_death = false, ...fields} = event.args ?? {}
    const {parent, began_before = false} = args ?? {}
    const [from, to] = [moment(ts), moment(event.ts)]
    spans.push({name, from, to, fields, open_at_death, began_before, is_child: !!parent})
  }
  if (open.size > 0) throw new Error(`${open.size} spans are never closed`)
  return spans
}

function said({name, tid, ts, args: {level, source, truncated, ...fields}}) {
  return {name, thread: tid, at: moment(ts), level, source, fields}
}

// Nanoseconds since the day began.
function moment(ts) {
  const ns = BigInt(otherData.started_ns) + BigInt(Math.round(ts * 1000))
  return Number(ns % 86_400_000_000_000n)
}
