// Browsers start no Worker on a page that was opened from a folder. The search then runs in a
// hidden frame that takes and answers the same messages.
if (location.protocol === "file:")
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.appendChild(this.frame)
      const inside = this.frame.contentWindow
      inside.answer = data => this.dispatchEvent(new MessageEvent("message", { data }))
      this.ready = new Promise(resolve => (inside.started = resolve))
      inside.document.write(
        `<script>var postMessage = answer</script><script src="${url}" onload="started()"></script>`
      )
      inside.document.close()
    }
    async postMessage(data) {
      await this.ready
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }))
    }
    terminate() {
      this.frame.remove()
    }
  }
