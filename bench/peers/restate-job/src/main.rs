//! The job as a Restate service, written as its Rust SDK's examples do: one handler, three `ctx.run` calls, each
//! journaled by the server before the next; on a terminal error the steps are undone in reverse.

use restate_sdk::prelude::*;
use rig::{Caller, Job as Input, STEPS, UNDO};

struct Job {
    caller: Caller,
}

#[service]
impl Job {
    #[handler]
    async fn run(&self, context: Context<'_>, input: Json<Input>) -> Result<Json<String>, HandlerError> {
        let input = input.into_inner();
        for (index, step) in STEPS.iter().enumerate() {
            if let Err(error) = self.call(&context, &input, step).await {
                for undo in UNDO[..=index].iter().rev().flatten() {
                    self.call(&context, &input, undo).await?;
                }
                return Err(error.into());
            }
        }
        Ok(Json::from("completed".to_owned()))
    }
}

impl Job {
    async fn call(&self, context: &Context<'_>, input: &Input, step: &str) -> Result<(), TerminalError> {
        let (caller, job) = (self.caller.clone(), input.clone());
        let path = step.to_owned();
        context
            .run(move || async move {
                match caller.call(&job, &path).await {
                    Ok(200) => Ok(()),
                    Ok(status) if (400..500).contains(&status) => {
                        Err(TerminalError::new(format!("{path} was refused: {status}")).into())
                    }
                    Ok(status) => Err(HandlerError::from(std::io::Error::other(format!("{path} answered {status}")))),
                    Err(why) => Err(HandlerError::from(std::io::Error::other(why))),
                }
            })
            .name(step)
            .await
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments = rig::Arguments::of_process();
    let listen = arguments.required("--listen");
    let Ok(address) = listen.parse() else {
        eprintln!("--listen must be an address and a port, not {listen}");
        std::process::exit(2);
    };
    let job = Job { caller: Caller::new(arguments.required("--participants")) };
    println!("listening on {listen}");
    HttpServer::new(Endpoint::builder().bind(job).build()).listen_and_serve(address).await;
}
